package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"millrace/assets"
	"millrace/cmd/millrace/term"
	"millrace/schema/compile"
)

// The documentation is a contract, so it is held to the code: tables of fields are made from the Go
// types (go test ./cmd/millrace -run Docs -update-docs), and every path, test and command that a page
// names must exist.

const root = "../.."

var updateDocs = flag.Bool("update-docs", false, "write the generated parts of docs/*.md anew")

// pages are the texts for people, by their path below the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, name := range append(found, root+"/README.md", root+"/AGENTS.md", root+"/CHANGELOG.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		texts[rel] = string(data)
	}
	return texts
}

// marked is a generated part: <!-- fields workspace.Record --> … <!-- end -->.
var marked = regexp.MustCompile(`(?s)<!-- (fields|values|budgets|config|graph|agents) ?([^ ]*) ?([^ ]*) -->\n(.*?)<!-- end -->`)

func TestDocsGeneratedParts(t *testing.T) {
	code := newSources(t)
	for name, text := range pages(t) {
		fresh := marked.ReplaceAllStringFunc(text, func(part string) string {
			m := marked.FindStringSubmatch(part)
			head, _, _ := strings.Cut(part, "\n")
			return head + "\n\n" + code.generate(m[1], m[2], m[3]) + "\n<!-- end -->"
		})
		switch {
		case fresh == text:
		case *updateDocs:
			if err := os.WriteFile(filepath.Join(root, name), []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s does not say what the code says; go test ./cmd/millrace -run Docs -update-docs writes it anew", name)
		}
	}
}

// TestDocsShapes: what a field's type is called is described on one of the two pages.
func TestDocsShapes(t *testing.T) {
	named, described := map[string]string{}, map[string]bool{"JSON": true}
	for _, name := range []string{"docs/json-output.md", "docs/file-formats.md"} {
		text := pages(t)[name]
		for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
			described[m[1]] = true
		}
		for _, part := range marked.FindAllString(text, -1) {
			for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| .*\\|$").FindAllStringSubmatch(part, -1) {
				for _, word := range regexp.MustCompile(`\b[A-Z]\w+`).FindAllString(m[2], -1) {
					named[word] = name + ": " + m[1]
				}
			}
		}
	}
	for shape, where := range named {
		if !described[shape] {
			t.Errorf("%s is a %s, which is described nowhere", where, shape)
		}
	}
}

// sources are the packages whose types the documentation shows.
type sources struct {
	t     *testing.T
	dirs  map[string]string
	files map[string][]*ast.File
}

func newSources(t *testing.T) *sources {
	return &sources{t: t, files: map[string][]*ast.File{}, dirs: map[string]string{
		"schema": root + "/schema", "workspace": root + "/workspace", "compile": root + "/schema/compile", "simulate": root + "/schema/simulate",
		"reqdir": root + "/workspace/reqdir", "runner": root + "/controllers/dispatch/runner", "cmd": ".", "monitor": "monitor", "dispatch": root + "/controllers/dispatch",
	}}
}

func (s *sources) parse(pkg string) []*ast.File {
	s.t.Helper()
	if s.files[pkg] != nil {
		return s.files[pkg]
	}
	dir, ok := s.dirs[pkg]
	if !ok {
		s.t.Fatalf("no package %q is documented", pkg)
	}
	names, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		s.t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			s.t.Fatal(err)
		}
		s.files[pkg] = append(s.files[pkg], f)
	}
	return s.files[pkg]
}

func (s *sources) generate(what, name, more string) string {
	switch what {
	case "graph":
		r := compile.Compile(compile.Source{Mode: name, Files: assets.Files()})
		drawn, err := compile.Draw(r.Plan, orElse(more, "execution"), "mermaid")
		if err != nil {
			s.t.Fatal(err)
		}
		return "```mermaid\n" + drawn + "```\n"
	case "config":
		return configTable(s.t)
	case "agents":
		return agentTable(s.t, name)
	case "values":
		return s.values(name, more)
	case "budgets":
		return s.budgets(name, more)
	}
	pkg, typ, _ := strings.Cut(name, ".")
	var b strings.Builder
	b.WriteString("| field | type | |\n|---|---|---|\n")
	s.fields(&b, pkg, typ, map[string]bool{})
	return b.String()
}

// fields writes a row for each field of a struct's JSON; those of embedded structs among them.
func (s *sources) fields(b *strings.Builder, pkg, name string, seen map[string]bool) {
	s.t.Helper()
	st := s.find(pkg, name)
	for _, f := range st.Fields.List {
		if len(f.Names) == 0 {
			p, n := named(pkg, f.Type)
			s.fields(b, p, n, seen)
			continue
		}
		if f.Tag == nil {
			continue
		}
		tag, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if tag == "-" || tag == "" || seen[tag] { // the outer field of a name wins
			continue
		}
		seen[tag] = true
		comment := f.Comment.Text()
		if f.Doc != nil {
			comment = f.Doc.Text()
		}
		comment = strings.Join(strings.Fields(comment), " ")
		if strings.HasPrefix(options, "omit") {
			comment = strings.TrimSuffix("optional; "+comment, "; ")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", tag, s.typeOf(pkg, f.Type), strings.ReplaceAll(comment, "|", "\\|"))
	}
}

func (s *sources) find(pkg, name string) *ast.StructType {
	s.t.Helper()
	for _, f := range s.parse(pkg) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.Name == name {
					if st, ok := ts.Type.(*ast.StructType); ok {
						return st
					}
				}
			}
		}
	}
	s.t.Fatalf("there is no struct %s.%s", pkg, name)
	return nil
}

// named is the package and name of a type written in a package.
func named(pkg string, e ast.Expr) (string, string) {
	switch e := e.(type) {
	case *ast.StarExpr:
		return named(pkg, e.X)
	case *ast.SelectorExpr:
		return fmt.Sprint(e.X), e.Sel.Name
	case *ast.Ident:
		return pkg, e.Name
	}
	return pkg, ""
}

var plainTypes = map[string]string{
	"string": "text", "bool": "true or false", "int": "integer", "int64": "integer", "uint64": "integer", "uint32": "integer", "float64": "number",
	"time.Time": "time", "schema.Duration": "duration", "schema.Digest": "digest", "schema.Key": "item", "any": "anything",
	"json.RawMessage": "JSON", "byte": "byte", "schema.Severity": "text", "workspace.OpKind": "text", "compile.Choice": "text or null",
}

// typeOf says a type in the words of the documentation.
func (s *sources) typeOf(pkg string, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return s.typeOf(pkg, e.X)
	case *ast.ArrayType:
		if p, n := named(pkg, e.Elt); p == pkg && n == "byte" {
			return "base64"
		}
		return "list of " + s.typeOf(pkg, e.Elt)
	case *ast.MapType:
		return "object: " + s.typeOf(pkg, e.Key) + " → " + s.typeOf(pkg, e.Value)
	}
	p, n := named(pkg, e)
	for _, name := range []string{n, p + "." + n} {
		if words, ok := plainTypes[name]; ok {
			return words
		}
	}
	if n == "Diagnostics" {
		return "list of Diagnostic"
	}
	n = strings.TrimSuffix(n, "Shape")
	return strings.ToUpper(n[:1]) + n[1:]
}

// values lists the string constants whose names begin with a prefix.
func (s *sources) values(pkg, prefix string) string {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("| value | |\n|---|---|\n")
	n := 0
	for _, f := range s.parse(pkg) {
		ast.Inspect(f, func(node ast.Node) bool {
			v, ok := node.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || !strings.HasPrefix(v.Names[0].Name, prefix) || len(v.Values) != 1 {
				return true
			}
			if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Trim(lit.Value, `"`), strings.Join(strings.Fields(v.Comment.Text()), " "))
				n++
			}
			return true
		})
	}
	if n == 0 {
		s.t.Fatalf("no constant of %s begins with %s", pkg, prefix)
	}
	return b.String()
}

// budgets lists the sizes, written as n or n << 10, whose names begin with a prefix.
func (s *sources) budgets(pkg, prefix string) string {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("| at most | |\n|---|---|\n")
	for _, f := range s.parse(pkg) {
		ast.Inspect(f, func(node ast.Node) bool {
			v, ok := node.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || !strings.HasPrefix(v.Names[0].Name, prefix) || len(v.Values) != 1 {
				return true
			}
			size := ""
			switch e := v.Values[0].(type) {
			case *ast.BasicLit:
				size = e.Value + " bytes"
			case *ast.BinaryExpr:
				if n, ok := e.X.(*ast.BasicLit); ok {
					size = n.Value + " KiB"
				}
			}
			fmt.Fprintf(&b, "| %s | %s |\n", size, strings.Join(strings.Fields(v.Comment.Text()), " "))
			return true
		})
	}
	return b.String()
}

// configTable is what schema/config.cue says of every field.
func configTable(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(root + "/schema/config.cue")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var path []string
	var comment string
	field := regexp.MustCompile(`^([#A-Za-z_"\[][^:]*?)[?!]?:\s*(.*)$`)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "//"); ok {
			comment = strings.TrimSpace(comment + " " + strings.TrimSpace(text))
			continue
		}
		m := field.FindStringSubmatch(line)
		if m == nil && strings.HasPrefix(line, "}") && len(path) > 0 {
			path = path[:len(path)-1]
		}
		if m != nil {
			name := m[1]
			if comment != "" && len(path) > 0 {
				row(&b, strings.Join(append(path[1:len(path):len(path)], name), "."), comment)
			}
			if strings.HasSuffix(m[2], "{") {
				if len(path) == 0 {
					fmt.Fprintf(&b, "\n### %s\n\n%s| field | | default | takes hold |\n|---|---|---|---|\n", sections[name], lead(comment))
				}
				path = append(path, name)
			}
		}
		comment = ""
	}
	return strings.TrimPrefix(b.String(), "\n")
}

var sections = map[string]string{"#Config": "The record", "#Runners": "runners", "#Runner": "A runner", "#StageConfig": "stages.STAGE",
	"#ModelAlias": "model_aliases.NAME", "#ModelAssignment": "model_assignment"}

func lead(comment string) string {
	if comment == "" || strings.HasPrefix(comment, "The configuration:") {
		return ""
	}
	return comment + "\n\n"
}

var parts = regexp.MustCompile(`^(.*?)(?: ?Default:? (.*?)\.)?(?: (Recompile|Next tick)\.)?$`)

func row(b *strings.Builder, name, comment string) {
	m := parts.FindStringSubmatch(comment)
	name = strings.NewReplacer("[#Name]", "NAME", `[!="default_runner"]`, "NAME", `[!~"^(model|thinking_level)$"]`, "ADAPTER", `"`, "").Replace(name)
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, m[1], strings.Trim(m[2], `"`), strings.ToLower(m[3]))
}

// ours are the folders that begin a path of this repository.
var ours = regexp.MustCompile(`^(\.ci|assets|cmd|controllers|docs|reconcile|schema|workspace)/[A-Za-z0-9_./-]*$`)

var code = regexp.MustCompile("`([^`\n]+)`")

func TestDocsPaths(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for name, text := range pages(t) {
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			path := strings.TrimSuffix(m[1], "/…")
			if !ours.MatchString(path) {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
		for _, m := range links.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			}
		}
	}
}

// TestDocsNames: a test or a function that a page names is there.
func TestDocsNames(t *testing.T) {
	defined := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(\w+)`).FindAllStringSubmatch(string(data), -1) {
			defined[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile("`(?:[a-z]+\\.|\\w+\\.)*((?:Test|Benchmark|Fuzz)\\w+|\\w+\\(\\))`").FindAllStringSubmatch(text, -1) {
			if fn := strings.TrimSuffix(m[1], "()"); !defined[fn] {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}

// called is a command as texts and messages name it.
var called = regexp.MustCompile("(?:[`'\"] ?|\\$ |^    |[;,:] |or )millrace((?: [a-z][a-z-]*)+)((?: [A-Z…]+[0-9]*)*(?: --?[a-z-]+)*)")

// TestDocsCommands: every command and flag that a page, a prompt or a message names is there.
func TestDocsCommands(t *testing.T) {
	texts := pages(t)
	for _, top := range []string{"assets", "cmd/millrace", "controllers", "reconcile", "schema", "workspace"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || !slices.Contains([]string{".go", ".md", ".cue"}, filepath.Ext(path)) {
				return err
			}
			data, err := os.ReadFile(path)
			texts[path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := newCmdRoot(&factory{io: &term.IO{}, getenv: os.Getenv})
	cmd.InitDefaultHelpCmd()
	cmd.InitDefaultCompletionCmd()
	for name, text := range texts {
		for line := range strings.Lines(text) {
			for _, m := range called.FindAllStringSubmatch(line, -1) {
				if why := unknown(cmd, strings.Fields(m[1]), strings.Fields(m[2])); why != "" {
					t.Errorf("%s: %s: %s", name, strings.TrimSpace(m[0]), why)
				}
			}
		}
	}
}

// unknown says what is wrong with a command line; "" when nothing is.
func unknown(cmd *cobra.Command, words, rest []string) string {
	if words[0] == "stage" { // not a command of people: the supervisor in the same program
		return ""
	}
	for _, w := range words {
		i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == w || c.HasAlias(w) })
		if i < 0 {
			if cmd.HasSubCommands() && cmd.Name() != "status" {
				return fmt.Sprintf("%s has no command %q", cmd.CommandPath(), w)
			}
			break
		}
		cmd = cmd.Commands()[i]
	}
	for _, w := range rest {
		if long, ok := strings.CutPrefix(w, "--"); ok && cmd.Flag(long) == nil && long != "format" {
			return fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), long)
		}
	}
	return ""
}
