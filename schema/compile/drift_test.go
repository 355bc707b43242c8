package compile

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"

	"millrace/schema"
)

func definitionsValue(t testing.TB) cue.Value {
	t.Helper()
	inst := build.NewContext().NewInstance("", nil)
	addDefinitions(inst)
	if err := inst.Complete(); err != nil {
		t.Fatal(err)
	}
	v := cuecontext.New().BuildInstance(inst)
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTypesMatchDefinitions fails when a Go type and its CUE definition do not have the same fields.
func TestTypesMatchDefinitions(t *testing.T) {
	defs := definitionsValue(t)
	for _, c := range []struct {
		definition string
		value      any
		onlyGo     []string // what the compiler adds
		onlyCUE    []string // what Go writes by hand
	}{
		{"#StageKind", schema.StageKind{}, nil, nil},
		{"#Artifact", schema.Artifact{}, []string{"name"}, nil},
		{"#Family", schema.Family{}, []string{"source"}, nil},
		{"#Graph", schema.Graph{}, []string{"id"}, nil},
		{"#Node", schema.Node{}, []string{"from"}, nil},
		{"#Edge", schema.Edge{}, nil, nil},
		{"#EdgeApproval", schema.EdgeApproval{}, nil, nil},
		{"#Resume", schema.Resume{}, nil, nil},
		{"#End", schema.End{}, nil, nil},
		{"#Runner", schema.RunnerConfig{}, []string{"name"}, nil},
		{"#Mode", Mode{}, []string{"id"}, nil},
		{"#ModeStage", ModeStage{}, nil, nil},
		{"#Config", schema.Config{}, nil, nil},
		{"#Config.runtime", schema.RuntimeConfig{}, nil, nil},
		{"#Runners", struct{}{}, nil, []string{"default_runner", "codex_cli", "pi_rpc", "claude_code"}},
		{"#StageConfig", schema.StageConfig{}, nil, nil},
		{"#ModelAlias", schema.ModelAlias{}, nil, nil},
		{"#ModelAssignment", schema.ModelAssignment{}, nil, nil},
		{"#Config.checks", schema.CheckPolicy{}, nil, nil},
		{"#Config.auto_recovery", schema.RecoveryPolicy{}, nil, nil},
	} {
		def := defs.LookupPath(cue.ParsePath(c.definition))
		if !def.Exists() {
			t.Errorf("%s is not defined", c.definition)
			continue
		}
		inCUE := namesOf(def).known
		inGo := jsonNames(reflect.TypeOf(c.value))
		for _, name := range inGo {
			if !slices.Contains(inCUE, name) && !slices.Contains(c.onlyGo, name) {
				t.Errorf("%s has no field %q, and %T has", c.definition, name, c.value)
			}
		}
		for _, name := range inCUE {
			if !slices.Contains(inGo, name) && !slices.Contains(c.onlyCUE, name) {
				t.Errorf("%T has no field %q, and %s has", c.value, name, c.definition)
			}
		}
	}
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// TestClosedSetsMatch: what CUE allows is what Go knows, where both list it.
func TestClosedSetsMatch(t *testing.T) {
	defs := definitionsValue(t)
	for definition, want := range map[string][]string{
		"#Effect": {
			schema.EffectComplete, schema.EffectBlock, schema.EffectEscalate, schema.EffectDisposition, schema.EffectHandoff,
			schema.EffectDecompose, schema.EffectDraft, schema.EffectPacket, schema.EffectCritique, schema.EffectPromote,
			schema.EffectRepair, schema.EffectProve, schema.EffectClose, schema.EffectRemediate, schema.EffectLearn,
		},
		"#Class": {schema.ClassSuccess, schema.ClassNoOp, schema.ClassFollowup, schema.ClassEscalate, schema.ClassBlocked,
			schema.ClassRecoverable},
	} {
		_, values := defs.LookupPath(cue.ParsePath(definition)).Expr()
		var got []string
		for _, v := range values {
			s, err := v.String()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s is %v in CUE and %v in Go", definition, got, want)
		}
	}
	for section, definition := range sections {
		if !defs.LookupPath(cue.ParsePath(section)).Exists() || !defs.LookupPath(cue.ParsePath(definition)).Exists() {
			t.Errorf("%s or %s is not defined", section, definition)
		}
	}
	for _, f := range freeNames {
		if wants[f.pattern] == "" || !regexp.MustCompile(f.pattern).MatchString(f.example) {
			t.Errorf("%s has no words, or %q is no example", f.pattern, f.example)
		}
	}
}

// TestEveryPatternHasWords: no person should have to read a regular expression.
func TestEveryPatternHasWords(t *testing.T) {
	for _, name := range []string{"workflow.cue", "config.cue"} {
		data, err := schema.CUE.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`=~("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(string(data), -1) {
			if pattern, ok := unquote(m[1]); !ok || wants[pattern] == "" {
				t.Errorf("%s: nothing says in words what %s asks for", name, m[1])
			}
		}
	}
}

// TestConfigurationIsDocumented: every field says its default and when a change of it takes hold.
func TestConfigurationIsDocumented(t *testing.T) {
	defs := definitionsValue(t)
	for _, definition := range []string{"#Config", "#Runners", "#Runner", "#StageConfig", "#ModelAlias", "#ModelAssignment"} {
		documented(t, definition, defs.LookupPath(cue.ParsePath(definition)))
	}
}

func documented(t *testing.T, path string, def cue.Value) {
	fields, err := def.Fields(cue.Optional(true))
	if err != nil {
		t.Fatal(path, err)
	}
	for fields.Next() {
		at := path + "." + fields.Selector().Unquoted()
		text := ""
		for _, doc := range fields.Value().Doc() {
			text += doc.Text()
		}
		inner := fields.Value()
		if section := path == "#Config" && inner.IncompleteKind() == cue.StructKind && !strings.Contains(text, "Default"); section {
			if len(namesOf(inner).known) == 0 {
				t.Errorf("%s has neither a documentation nor documented fields", at)
			}
			documented(t, at, inner)
			continue
		}
		text = strings.ReplaceAll(text, "\n", " ")
		if strings.Contains(text, "Recompile.") != strings.Contains(text, "Next tick.") {
			continue
		}
		t.Errorf("%s does not say when it takes hold: %q", at, text)
	}
}
