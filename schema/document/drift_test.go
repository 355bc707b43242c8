package document

import (
	"encoding"
	"reflect"
	"strings"
	"testing"

	"cuelang.org/go/cue"

	"millrace/schema"
)

// goTypes names the Go type that stands beside each definition.
var goTypes = map[string]any{
	"#Check": schema.Check{}, "#Task": schema.Task{}, "#Spec": schema.Spec{}, "#Probe": schema.Probe{}, "#ClosureTarget": schema.ClosureTarget{},
	"#Incident": schema.Incident{}, "#LearningRequest": schema.LearningRequest{}, "#Idea": schema.Idea{},
	"#Approval": schema.Approval{}, "#ControlDocument": schema.ControlDocument{}, "#BlueprintDraft": schema.BlueprintDraft{},

	"#PlannerDisposition": schema.PlannerDisposition{}, "#ReconPacket": schema.ReconPacket{},
	"#Verdict": schema.ClosureVerdict{}, "#Criterion": schema.Criterion{}, "#Gap": schema.Gap{},
	"#CuratorDecision": schema.CuratorDecision{}, "#BlueprintManifest": schema.BlueprintManifest{},
	"#BlueprintDrafts": schema.BlueprintDrafts{}, "#BlueprintPacket": schema.BlueprintPacket{},
	"#BlueprintCritique": schema.BlueprintCritique{}, "#BlueprintEvaluation": schema.BlueprintEvaluation{},
	"#BlueprintRepairDecision": schema.BlueprintRepairDecision{}, "#Promotion": schema.Promotion{},

	"#Request": schema.Request{}, "#BoundRunner": schema.Runner{}, "#BoundArtifact": schema.Artifact{},
	"#Completion": schema.Completion{}, "#Claim": schema.Claim{}, "#File": schema.File{}, "#Tokens": schema.Tokens{},
	"#Cost": schema.Cost{}, "#CheckRecord": schema.CheckRecord{}, "#Item": schema.Item{}, "#Lineage": schema.Lineage{},
	"#Declaration": schema.Declaration{}, "#Outcome": schema.Outcome{}, "#Blocked": schema.Blocked{},
	"#Cancel": schema.Cancel{}, "#Note": schema.Note{}, "#Closure": schema.Closure{}, "#Learned": schema.Learned{}, "#Run": schema.Run{}, "#Step": schema.Step{},
	"#Result": schema.Result{}, "#Declined": schema.Declined{}, "#Control": schema.Control{}, "#Pause": schema.Pause{}, "#Stop": schema.Stop{},
	"#RunnerWait": schema.RunnerWait{}, "#HeldChange": schema.HeldChange{},
	"#Pending": schema.Pending{}, "#Ruling": schema.Ruling{},
	"#Blueprint": schema.Blueprint{}, "#GitHead": schema.GitHead{}, "#RootFault": schema.RootFault{}, "#Hold": schema.Hold{},
	"#Held": schema.Held{}, "#Session": schema.Session{}, "#Evidence": schema.Evidence{}, "#EvidenceItem": schema.EvidenceItem{}, "#EvidenceResult": schema.EvidenceResult{},
}

// goless are definitions that only agents write and Go reads in its own way.
var goless = map[string]string{
	"#Kind":           "a row of the kinds table",
	"#TerminalResult": "read leniently by outcome detection, into a Claim",
}

// TestDrift fails when a definition and its Go type differ in a field, its optionality or its type.
func TestDrift(t *testing.T) {
	r := registry(t)
	fields, err := r.root.Fields(cue.Definitions(true))
	if err != nil {
		t.Fatal(err)
	}
	for fields.Next() {
		name := fields.Selector().String()
		if fields.Value().IncompleteKind() != cue.StructKind || goless[name] != "" {
			continue
		}
		value, ok := goTypes[name]
		if !ok {
			t.Errorf("%s has no Go type beside it", name)
			continue
		}
		d, err := r.find(name)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, name, d.shape, reflect.TypeOf(value), map[*shape]bool{})
	}
	for name := range goTypes {
		if _, err := r.find(name); err != nil {
			t.Error(err)
		}
	}
}

func compare(t *testing.T, at string, s *shape, typ reflect.Type, seen map[*shape]bool) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if !sameKind(s, typ) {
		t.Errorf("%s is %v in CUE and %v in Go", at, s.kind, typ)
		return
	}
	switch typ.Kind() {
	case reflect.Slice:
		if s.entry != nil {
			compare(t, at+"[]", s.entry, typ.Elem(), seen)
		}
	case reflect.Map:
		if s.open == nil {
			t.Errorf("%s is closed in CUE and %v in Go", at, typ)
		} else if s.open.kind != cue.TopKind {
			compare(t, at+"[string]", s.open, typ.Elem(), seen)
		}
	case reflect.Struct:
		if s.kind == cue.StructKind && !seen[s] {
			seen[s] = true
			compareFields(t, at, s, typ, seen)
		}
	}
}

func compareFields(t *testing.T, at string, s *shape, typ reflect.Type, seen map[*shape]bool) {
	t.Helper()
	left := map[string]bool{}
	for _, f := range s.fields {
		left[f.name] = true
	}
	for _, f := range reflect.VisibleFields(typ) {
		tag, ok := f.Tag.Lookup("json")
		if !ok || f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		inCUE := s.field(name)
		if inCUE == nil {
			t.Errorf("%s.%s is in Go only", at, name)
			continue
		}
		delete(left, name)
		if optional := strings.Contains(options, "omit"); optional == inCUE.required {
			t.Errorf("%s.%s: required is %v in CUE, optional is %v in Go", at, name, inCUE.required, optional)
		}
		compare(t, at+"."+name, inCUE.shape, f.Type, seen)
	}
	for name := range left {
		t.Errorf("%s.%s is in CUE only", at, name)
	}
}

var textType = reflect.TypeFor[encoding.TextMarshaler]()

func sameKind(s *shape, typ reflect.Type) bool {
	if typ.Implements(textType) {
		return s.kind == cue.StringKind
	}
	switch typ.Kind() {
	case reflect.String:
		return s.kind == cue.StringKind
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return s.kind == cue.IntKind
	case reflect.Float64:
		return s.kind == cue.NumberKind
	case reflect.Bool:
		return s.kind == cue.BoolKind
	case reflect.Slice:
		return s.kind == cue.ListKind
	case reflect.Map, reflect.Struct:
		return s.kind == cue.StructKind
	}
	return false
}

func registry(t testing.TB) *Registry {
	t.Helper()
	r, err := NewRegistry(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
