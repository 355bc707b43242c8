package document

import (
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

const valid = "kind: task\ntask_id: a\ntitle: T\nacceptance: [x]\n"

// TestHostileFiles: whatever is dropped, it is refused quickly with a message that helps.
func TestHostileFiles(t *testing.T) {
	r := registry(t)
	tests := map[string]struct {
		file, data, want string
	}{
		"empty":             {"tasks/a.md", "", "tasks/a.md: is empty"},
		"blank":             {"tasks/a.yaml", " \n\t\n", "is empty"},
		"only a BOM":        {"tasks/a.yaml", "\ufeff", "is empty"},
		"only comments":     {"tasks/a.yaml", "# nothing\n", "holds no document"},
		"binary":            {"tasks/a.md", "# T\n\x00\x01", "is binary: a zero byte at offset 4"},
		"UTF-16":            {"tasks/a.md", "\xff\xfe#\x00", "is UTF-16"},
		"not UTF-8":         {"tasks/a.md", "# T\n\nTask-ID: a\xff\n", "tasks/a.md:3:11: is not UTF-8: byte 0xff at offset 15"},
		"1 MiB and 1":       {"tasks/a.md", strings.Repeat("x", schema.MaxFile+1), "has 1048577 bytes"},
		"long text":         {"tasks/a.yaml", valid + "summary: " + strings.Repeat("x", schema.MaxText+1), "summary: has 65537 bytes"},
		"long list":         {"tasks/a.yaml", valid + "tags:\n" + strings.Repeat("- x\n", schema.MaxItems+1), "tags: has 1001 entries"},
		"control character": {"tasks/a.json", `{"kind":"task","task_id":"a","title":"\u001b[31m","acceptance":["x"]}`, "title: has the control character U+001B"},
		"alias bomb":        {"tasks/a.yaml", bomb(), "cannot read the YAML"},
		"deep flow YAML":    {"tasks/a.yaml", "a: " + strings.Repeat("[", 200000), "nests deeper"},
		"deep block YAML":   {"tasks/a.yaml", strings.Repeat("- ", 100000) + "x", "nests deeper"},
		"deep keys YAML":    {"tasks/a.yaml", strings.Repeat("? ", 100000) + "x", "nests deeper"},
		"indented YAML":     {"tasks/a.yaml", indentedYAML(1400), "nests deeper"},
		"deep JSON":         {"tasks/a.json", strings.Repeat("[", 500000), "nests deeper"},
		"deep CUE":          {"tasks/a.cue", "a: " + strings.Repeat("[", 500000), "nests deeper"},
		"chained CUE":       {"tasks/a.cue", strings.Repeat("a: ", 300000) + "1", "nests deeper"},
		"unary CUE":         {"tasks/a.cue", "a: " + strings.Repeat("-", 500000) + "1", "an expression is not data"},
		"bits CUE":          {"tasks/a.cue", "a: " + strings.Repeat("!", 500000) + "1", "a constraint is not data"},
		"deep metadata":     {"learning/a.md", "# T\n\nTrigger-Metadata: " + strings.Repeat("{\"a\":", 10000), "nests deeper"},
		"call":              {"tasks/a.cue", "title: strings.Repeat(\"x\", 1000000000)", "\"strings\" is a reference, not data"},
		"definition":        {"tasks/a.cue", "#X: 1", "a constraint, definition or hidden field is not data"},
		"optional field":    {"tasks/a.cue", "title?: string", "a constraint is not data"},
		"interpolation":     {"tasks/a.cue", `title: "a\(1)"`, "an interpolation is not data"},
		"disjunction":       {"tasks/a.cue", `title: "a" | "b"`, "an expression is not data"},
		"pattern":           {"tasks/a.cue", `["a"]: 1`, "not data"},
		"huge exponent":     {"tasks/a.json", `{"kind":"task","task_id":"a","title":"T","acceptance":["x"],"priority":1e999999999}`, "priority: 1e999999999 is not a whole number"},
		"huge number":       {"tasks/a.json", `{"kind":"task","task_id":"a","title":"T","acceptance":["x"],"priority":123456789012345678901234567890}`, "is too large"},
		"dots in the id":    {"tasks/a.yaml", "task_id: a..b\ntitle: T\nacceptance: [x]\n", `task_id: "a..b" is not an id`},
		"id none":           {"tasks/none.yaml", "title: T\nacceptance: [x]\n", `task_id: is missing`},
		"long idea id":      {"ideas/a.md", "# T\n\nIdea-ID: " + strings.Repeat("x", 124) + "\n", "is not an id"},
		"no id in the name": {"tasks/???.yaml", "title: T\nacceptance: [x]\n", `task_id: is missing`},
		"waits for itself":  {"tasks/a.yaml", valid + "depends_on: [a]\n", `depends_on[0]: "a" is the document itself`},
		"binary in YAML":    {"tasks/a.yaml", valid + "summary: !!binary aGk=\n", "binary data has no place"},
		"text in JSON":      {"tasks/a.json", `"text"`, "the document is text, not an object"},
		"two JSON values":   {"tasks/a.json", "{}\n{}", "tasks/a.json:2:1: more text follows"},
		"half a JSON":       {"tasks/a.json", `{"kind": "task", "title": "x`, "the JSON ends too early"},
		"two kinds":         {"tasks/a.json", `{"kind": "task", "kind": "spec"}`, "kind: is there twice"},
		"two kind labels":   {"tasks/a.md", "# T\n\nKind: task\nKind: spec\n", "a.md:4:1: kind: is there twice"},
		"two bodies":        {"tasks/a.json", `{"body": "a", "body": "b"}`, "body is there twice"},
		"infinite":          {"tasks/a.yaml", valid + "priority: .inf\n", "not"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p := r.Parse("intake/"+test.file, []byte(test.data))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if len(p.Docs) > 0 {
				t.Errorf("was accepted: %v", p.Docs[0].Doc)
			}
			if got := p.Diags.Error(); !strings.Contains(got, test.want) {
				t.Errorf("got %.300s, want %s", got, test.want)
			}
		})
	}
}

// bomb is a few lines of YAML whose aliases expand to a billion entries.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := '1'; i <= '9'; i++ {
		b.WriteString("a" + string(i) + ": &a" + string(i) + " [")
		for range 10 {
			b.WriteString("*a" + string(i-1) + ", ")
		}
		b.WriteString("]\n")
	}
	return b.String()
}

func indentedYAML(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestEditorsBytes: a byte order mark and Windows line ends change nothing.
func TestEditorsBytes(t *testing.T) {
	r := registry(t)
	plain := map[string]string{
		"a.md":   "# T\n\nTask-ID: a\nAcceptance:\n- x\n  y\n\nBody\n\nmore\n",
		"b.md":   "---\ntask_id: a\nacceptance: [x]\n---\n# T\n\nBody\n",
		"a.yaml": valid + "body: |\n  one\n  two\n",
		"a.json": "{\"task_id\": \"a\",\n\"title\": \"T\", \"acceptance\": [\"x\"]}",
		"a.cue":  "task_id: \"a\"\ntitle: \"T\"\nacceptance: [\"\"\"\n\tx\n\ty\n\t\"\"\"]\n",
	}
	for file, text := range plain {
		want := r.Parse("intake/"+file, []byte(text))
		if len(want.Docs) != 1 || len(want.Diags) > 0 {
			t.Fatalf("%s: %v", file, want.Diags)
		}
		got := r.Parse("intake/"+file, []byte("\ufeff"+strings.ReplaceAll(text, "\n", "\r\n")))
		if len(got.Docs) != 1 || got.Docs[0].Digest != want.Docs[0].Digest {
			t.Errorf("%s: differs with BOM and CRLF: %v", file, got.Diags)
		}
	}
}

// TestEncodingsAgree: one record, one digest, whatever it is written in.
func TestEncodingsAgree(t *testing.T) {
	r := registry(t)
	files := map[string]string{
		"a.md":    "# T\n\nTask-ID: a\nPriority: 2\nTags: x\n\nAcceptance:\n- one\n\n---\nBody\n",
		"b.md":    "---\ntask_id: a\npriority: 2\ntags: [x]\nacceptance: [one]\n---\n# T\n\nBody\n",
		"a.yml":   "kind: task\ntask_id: a\ntitle: T\npriority: 0x2\ntags: [x]\nacceptance: [one]\nsummary:\nbody: Body",
		"a.json":  `{"task_id": "a", "title": " T ", "priority": 2, "tags": ["x", ""], "acceptance": ["one"], "depends_on": [], "body": "\nBody\n"}`,
		"a.cue":   `{task_id: "a", title: "T", priority: 2, tags: ["x"], acceptance: ["one"], body: "Body"}`,
		"a.txt":   "task_id: a\ntitle: T\npriority: 2\ntags: [x]\nacceptance: [one]\nbody: Body\n",
		"noindex": `{"task_id": "a", "title": "T", "priority": 2, "tags": ["x"], "acceptance": ["one"], "body": "Body"}`,
	}
	var want schema.Digest
	for file, text := range files {
		p := r.Parse("intake/"+file, []byte(text))
		if len(p.Docs) != 1 || len(p.Diags) > 0 {
			t.Fatalf("%s: %v", file, p.Diags)
		}
		if want == "" {
			want = p.Docs[0].Digest
		}
		if p.Docs[0].Digest != want {
			t.Errorf("%s differs: %#v", file, p.Docs[0].Doc)
		}
	}
}

// TestOneBadDocument: the others of its file stay valid.
func TestOneBadDocument(t *testing.T) {
	r := registry(t)
	p := r.Parse("intake/x.yaml", []byte(valid+"---\nkind: task\ntask_id: b\n---\nkind: task\ntask_id: c\ntitle: C\nacceptance: [y]\n"))
	if len(p.Docs) != 2 || p.Docs[0].Doc.ID != "a" || p.Docs[1].Doc.ID != "c" || p.Unparsed || !p.Diags.HasErrors() {
		t.Errorf("got %v, %v", p.Docs, p.Diags)
	}
}

// TestUnreadableKeepsNothing: a file that is no YAML says so, whatever its first document holds.
func TestUnreadableKeepsNothing(t *testing.T) {
	p := registry(t).Parse("intake/x.yaml", []byte(valid+"---\n[: broken"))
	if len(p.Docs) != 0 || !p.Unparsed {
		t.Errorf("got %v, unparsed %v", p.Docs, p.Unparsed)
	}
}
