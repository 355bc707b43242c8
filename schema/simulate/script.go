package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/schema"
)

// failures are the classes that a script may name in place of an outcome.
var failures = []string{
	schema.FailAuth, schema.FailCancelled, schema.FailConflicting, schema.FailExit, schema.FailIllegalOutcome, schema.FailInvalidArtifact,
	schema.FailMissingArtifact, schema.FailMissingOutcome, schema.FailNetwork, schema.FailNoProgress, schema.FailNotStarted,
	schema.FailOutboxConflict, schema.FailProvider, schema.FailRateLimited, schema.FailRunnerNotFound, schema.FailStalled,
	schema.FailSupervisorLost, schema.FailTimeout,
}

// Script plays a script: a line that names a family and an id begins an item, every other line says how the stage
// ended where that item stands. The error is schema.Diagnostics, with name as the path.
//
//	task add-api
//	BUILDER_COMPLETE
//	CHECKER_PASS checks=fail
//	runner_timeout
func Script(p *schema.Plan, name string, text []byte) ([]*Passage, error) {
	r := &reader{plan: p, name: name}
	for i, line := range strings.Split(string(text), "\n") {
		r.line = i + 1
		words := split(line)
		if len(words) == 0 {
			continue
		}
		if p.Families[words[0].text] != nil {
			r.item(words)
		} else {
			r.outcome(words)
		}
		if len(r.wrong) > 0 { // what follows would be judged by a way that the item does not go
			return nil, r.wrong
		}
	}
	if len(r.all) == 0 {
		r.say(word{}, "the script names no item", "begin with a line that names one, its family first: "+strings.Join(r.families(), ", "))
		return nil, r.wrong
	}
	return r.all, nil
}

// A word of a line, and where it stands.
type word struct {
	text   string
	column int // from 1, in bytes
}

// split takes a line apart; "#" begins a comment.
func split(line string) []word {
	var words []word
	for at := 0; at < len(line); {
		n := strings.IndexAny(line[at:], " \t\r")
		if n < 0 {
			n = len(line) - at
		}
		if n > 0 {
			if line[at] == '#' {
				break
			}
			words = append(words, word{line[at : at+n], at + 1})
		}
		at += n + 1
	}
	return words
}

type reader struct {
	plan  *schema.Plan
	name  string
	line  int
	all   []*Passage
	wrong schema.Diagnostics
}

func (r *reader) say(at word, message, hint string) {
	d := schema.Diagnostic{Severity: schema.Error, Path: r.name, Column: at.column, Message: message, Hint: hint}
	if at.column > 0 {
		d.Line = r.line
	}
	r.wrong = append(r.wrong, d)
}

// families are those that can enter a graph of the plan.
func (r *reader) families() []string {
	var all []string
	for _, g := range r.plan.Graphs {
		all = slices.AppendSeq(all, maps.Keys(g.Entry))
	}
	slices.Sort(all)
	return all
}

// now is the item whose stages the lines tell of.
func (r *reader) now() *Passage {
	if len(r.all) == 0 {
		return nil
	}
	return r.all[len(r.all)-1]
}

// item reads "FAMILY [ID] [target_stage=NODE]".
func (r *reader) item(words []word) {
	family, rest := words[0], words[1:]
	key := schema.Key{Family: family.text, ID: family.text}
	if len(rest) > 0 && !strings.Contains(rest[0].text, "=") {
		key.ID = rest[0].text
		if !schema.ValidID(key.ID) {
			r.say(rest[0], fmt.Sprintf("%q is not an id", key.ID), "an id has only letters, digits, '.', '_' and '-'")
		}
		rest = rest[1:]
	}
	target := ""
	for _, w := range rest {
		name, value, _ := strings.Cut(w.text, "=")
		if name != "target_stage" {
			r.say(w, fmt.Sprintf("an item takes no %q", name), "it is written like this: "+family.text+" my-item target_stage=STAGE")
			return
		}
		target = value
		if g := r.plan.Graphs[r.plan.Families[family.text].Plane]; g != nil && g.Entry[family.text] != "" && g.Begin(family.text, value) == "" {
			legal := append([]string{g.Entry[family.text]}, g.Targets[family.text]...)
			r.say(w, fmt.Sprintf("an item of family %s cannot begin at %q", family.text, value), choice(value, "it begins at ", legal))
			return
		}
	}
	s, err := Enter(r.plan, key, target)
	if err != nil {
		r.say(family, err.Error(), choice(family.text, "it takes ", r.families()))
		return
	}
	s.Line = r.line
	for _, old := range slices.Backward(r.all) {
		if old.Item != key {
			continue
		}
		if err := s.follow(old); err != nil {
			r.say(words[0], err.Error(), "give the next item another id")
		}
		break
	}
	r.all = append(r.all, s)
}

// follow makes this the next run of an item that has had one: the budgets are the item's, and an operator who takes it
// out of blocked gives it fresh ones.
func (s *Passage) follow(old *Passage) error {
	switch {
	case !old.Ended():
		return fmt.Errorf("%s, begun on line %d, still stands at %s", s.Item, old.Line, old.Node)
	case schema.Ended(old.State):
		return fmt.Errorf("%s ended as %s on line %d", s.Item, old.State, old.Moves[len(old.Moves)-1].Line)
	case old.State != schema.StateBlocked:
		s.Spent = maps.Clone(old.Spent)
	}
	return nil
}

// outcome reads "OUTCOME [NAME=VALUE]…" or a failure class.
func (r *reader) outcome(words []word) {
	s, first := r.now(), words[0]
	if s == nil {
		r.say(first, fmt.Sprintf("%q begins no item", first.text), choice(first.text, "begin with a line that names one, its family first: ", r.families()))
		return
	}
	if s.Ended() {
		r.say(first, fmt.Sprintf("%s has ended at %s", s.Item, s.End), choice(first.text, "name the next item: ", r.families()))
		return
	}
	v := schema.Verdict{Outcome: first.text}
	if slices.Contains(failures, first.text) {
		v = schema.Verdict{Failure: first.text}
	} else if !slices.Contains(s.Legal, first.text) {
		known := slices.Concat(s.Legal, failures, r.families())
		hint := fmt.Sprintf("%s ends with %s, or with a failure class like %s", s.Node, strings.Join(s.Legal, ", "), schema.FailTimeout)
		if near := schema.Nearest(first.text, known, max(2, min(3, len(first.text)/3))); near != "" {
			hint = fmt.Sprintf("did you mean %q? %s", near, hint)
		}
		r.say(first, fmt.Sprintf("%s, where %s stands, does not end with %q", s.Node, s.Item, first.text), hint)
		return
	}
	for _, w := range words[1:] {
		if !r.detail(s, &v, w) {
			return
		}
	}
	if err := s.Play(v); err != nil {
		r.say(first, err.Error(), "")
		return
	}
	s.Moves[len(s.Moves)-1].Line = r.line
}

// detail reads one NAME=VALUE of an outcome; false when there is no such.
func (r *reader) detail(s *Passage, v *schema.Verdict, w word) bool {
	name, value, valued := strings.Cut(w.text, "=")
	takes := map[string][]string{"checks": {"fail", "pass"}}
	var wishes []string
	if v.Failure == "" {
		takes["class"] = s.plan.Kind(s.Plane, s.Node).Outcomes[v.Outcome]
		e := s.plan.Node(s.Plane, s.Node).On[v.Outcome]
		if e != nil && len(e.Routes) > 0 {
			takes["key"] = slices.Sorted(maps.Keys(e.Routes))
		}
		if e != nil && e.Resume != nil {
			wishes = e.Resume.Keys
		}
	}
	for _, key := range wishes {
		takes[key] = slices.Sorted(maps.Keys(s.plan.Graphs[s.Plane].Nodes))
	}
	said := v.Outcome + v.Failure
	values, known := takes[name]
	switch {
	case !known:
		r.say(w, fmt.Sprintf("%s of %s takes no %q", said, s.Node, name), choice(name, "it takes ", slices.Sorted(maps.Keys(takes))))
	case !valued || value == "":
		r.say(w, fmt.Sprintf("%s says nothing", name), fmt.Sprintf("write %s=%s", name, strings.Join(values, " or "+name+"=")))
	case !slices.Contains(values, value):
		r.say(w, fmt.Sprintf("%s of %s has no %s %q", said, s.Node, name, value), choice(value, "there are ", values))
	case name == "checks":
		v.ChecksRun, v.ChecksPassed = true, value == "pass"
	case name == "class":
		v.Class = value
	case name == "key":
		v.Key = value
	default:
		if v.Metadata == nil {
			v.Metadata = map[string]any{}
		}
		v.Metadata[name] = value
	}
	return len(r.wrong) == 0
}

// choice says what would be right: the name that was probably meant, and all that there are.
func choice(got, lead string, known []string) string {
	all := lead + strings.Join(known, ", ")
	if near := schema.Nearest(got, known, max(2, min(3, len(got)/3))); near != "" {
		return fmt.Sprintf("did you mean %q? %s", near, all)
	}
	return all
}
