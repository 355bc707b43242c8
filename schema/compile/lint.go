package compile

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"millrace/schema"
)

// What is asked of the texts that agents read. What would make a stage fail is an error; what the rest of its prompt
// makes up for, which names item, files and outcomes again, is advice: a warning, shown when nothing is wrong.

// questions are what an entrypoint answers, each below a heading that has the word.
var questions = []struct{ word, about string }{
	{"Purpose", "what the stage is for"},
	{"Read", "what to read, in which order"},
	{"May", "what it may do and what not"},
	{"Write", "what belongs into each file"},
	{"End", "when to end with which outcome"},
}

var (
	fenceLine   = regexp.MustCompile("^ {0,3}(```|~~~)")
	headingLine = regexp.MustCompile(`^ {0,3}##+[ \t]+(.*)$`)
	outcomeLine = regexp.MustCompile(`^ {0,3}###[ \t]+([A-Z][A-Z0-9_]*)[ \t]*$`)
	outcomeCode = regexp.MustCompile("`###[ \t]+([A-Z][A-Z0-9_]*)`")
	pathCode    = regexp.MustCompile("`(?:millrace-agents/)?((?:entrypoints|skills)/[A-Za-z0-9_./-]+[.][a-z]+)`")
	resultField = regexp.MustCompile(`"(stage|terminal_result)":[ \t]*"(\w+)"`)
)

// A mention is something that a text names.
type mention struct {
	what         string
	line, column int
}

// A lint is what one text says, as far as it can be held to something.
type lint struct {
	name     string
	headings string    // in lower case
	outcomes []mention // in code, which says how to end
	bare     []mention // lines that end whoever repeats them
	shown    []string  // outcomes in fenced blocks
	paths    []mention
	fields   map[string][]mention // of an example of terminal_result.json
}

func readText(name, text string) *lint {
	l := &lint{name: name, fields: map[string][]mention{}}
	fenced, n := false, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		for _, m := range resultField.FindAllStringSubmatchIndex(line, -1) {
			field := line[m[2]:m[3]]
			l.fields[field] = append(l.fields[field], mention{line[m[4]:m[5]], n, m[4] + 1})
		}
		switch bare := outcomeLine.FindStringSubmatchIndex(line); {
		case fenceLine.MatchString(line):
			fenced = !fenced
			continue
		case bare != nil && fenced:
			l.shown = append(l.shown, line[bare[2]:bare[3]])
		case bare != nil:
			l.bare = append(l.bare, mention{line[bare[2]:bare[3]], n, 1})
		}
		if fenced {
			continue
		}
		if m := headingLine.FindStringSubmatch(line); m != nil {
			l.headings += " " + strings.ToLower(strings.Join(strings.FieldsFunc(m[1], notLetter), " ")) + " "
		}
		l.outcomes = append(l.outcomes, mentions(outcomeCode, line, n)...)
		l.paths = append(l.paths, mentions(pathCode, line, n)...)
	}
	return l
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// mentions finds the first group of a pattern in a line.
func mentions(pattern *regexp.Regexp, line string, n int) (all []mention) {
	for _, m := range pattern.FindAllStringSubmatchIndex(line, -1) {
		all = append(all, mention{line[m[2]:m[3]], n, m[2] + 1})
	}
	return all
}

func (l *lint) at(m mention) place { return place{l.name, m.line, m.column} }

// A linter holds texts to what is asked of them.
type linter struct {
	files         map[string][]byte
	wrong, advice *report
}

// entrypoint holds a prompt to its stage kind. It returns the files that the prompt names.
func (t linter) entrypoint(name string, kind *schema.StageKind) (named []string) {
	l, subj := readText(name, string(t.files[name])), subject("stage kind", kind.ID)
	t.sections(l, subj, kind)
	t.outcomes(l, subj, kind)
	for _, m := range l.fields["stage"] {
		if m.what != kind.ID {
			t.wrong.errorAt(l.at(m), subj, "", fmt.Sprintf("the entrypoint speaks for stage %q", m.what),
				fmt.Sprintf("write \"stage\": %q: a result of another stage is not accepted", kind.ID))
		}
	}
	for _, m := range l.paths {
		if t.files[m.what] != nil {
			named = append(named, m.what)
			continue
		}
		t.wrong.errorAt(l.at(m), subj, "", fmt.Sprintf("the entrypoint names %s, which does not exist", m.what), t.instead(m.what))
	}
	return named
}

// sections: every question has its heading.
func (t linter) sections(l *lint, subj string, kind *schema.StageKind) {
	var lacks, words []string
	for _, q := range questions {
		if q.word == "Write" && len(kind.Writes)+len(kind.Emits) == 0 {
			continue
		}
		if !strings.Contains(l.headings, " "+strings.ToLower(q.word)+" ") {
			lacks, words = append(lacks, q.about), append(words, q.word)
		}
	}
	if len(lacks) > 0 {
		t.advice.warnAt(place{l.name, 1, 1}, subj, "", "the entrypoint has no section on "+strings.Join(lacks, "; "),
			"a section begins with a heading that has its word: "+strings.Join(words, ", "))
	}
}

// outcomes: a prompt that names any names all of its stage, and no others.
func (t linter) outcomes(l *lint, subj string, kind *schema.StageKind) {
	legal, named := outcomes(kind), slices.Clone(l.shown)
	for _, m := range slices.Concat(l.outcomes, l.bare) {
		named = append(named, m.what)
	}
	for _, m := range slices.Concat(l.outcomes, l.fields["terminal_result"]) {
		if !slices.Contains(legal, m.what) {
			t.wrong.errorAt(l.at(m), subj, "", fmt.Sprintf("the entrypoint says %s, and the stage never ends with it", m.what), choice(m.what, legal))
		}
	}
	for _, m := range l.bare {
		t.advice.warnAt(l.at(m), subj, "", fmt.Sprintf("an agent that repeats its prompt ends with %s by this line", m.what), "put it between backticks: `### "+m.what+"`")
	}
	if !slices.ContainsFunc(legal, func(o string) bool { return slices.Contains(named, o) }) {
		return // the rest of the prompt says them
	}
	first := place{l.name, 1, 1}
	if len(l.outcomes) > 0 {
		first = l.at(l.outcomes[0])
	}
	for _, o := range legal {
		if !slices.Contains(named, o) {
			t.wrong.errorAt(first, subj, "", fmt.Sprintf("the entrypoint names outcomes, and %s is not among them", o), "say when to end so: - `### "+o+"`: …")
		}
	}
}

// instead is the hint for a path that leads nowhere.
func (t linter) instead(name string) string {
	if near := nearest(name, slices.Sorted(maps.Keys(t.files))); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "write it, or leave it out"
}

// A SkillHead is the front matter of a SKILL.md: all that most readers see of it.
type SkillHead struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
}

// ReadSkillHead reads it from the text of a skill.
func ReadSkillHead(text string) (head SkillHead, err error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	front, begins := strings.CutPrefix(text, "---\n")
	front, _, ends := strings.Cut(front, "\n---\n")
	if !begins || !ends {
		return head, errors.New("it does not begin with front matter")
	}
	if err := yaml.Unmarshal([]byte("\n"+front), &head); err != nil { // lines count as in the file
		return head, fmt.Errorf("read front matter: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return head, nil
}

// skill: who is to open a skill sees its name and description only. An agent may have written it, so nothing
// that is wrong with it stops the others.
func (t linter) skill(name string) {
	folder := path.Base(path.Dir(name))
	hint := fmt.Sprintf("begin it with the lines: ---, name: %s, description: what it teaches and when to open it, ---", folder)
	switch head, err := ReadSkillHead(string(t.files[name])); {
	case err != nil:
		t.advice.warnAt(place{name, 1, 1}, "", "", "nobody sees what the skill is for: "+err.Error(), hint)
	case head.Description == "":
		t.advice.warnAt(place{name, 1, 1}, "", "", "nobody sees what the skill is for: it has no description", hint)
	case head.Name != folder:
		t.advice.warnAt(place{name, 1, 1}, "", "", fmt.Sprintf("the skill is called %q, and its folder %q", head.Name, folder), "name: "+folder)
	}
	t.paths(name, "the skill")
}

// paths shows the paths in a text that lead nowhere.
func (t linter) paths(name, what string) {
	l := readText(name, string(t.files[name]))
	for _, m := range l.paths {
		if t.files[m.what] == nil {
			t.advice.warnAt(l.at(m), "", "", fmt.Sprintf("%s names %s, which does not exist", what, m.what), t.instead(m.what))
		}
	}
}
