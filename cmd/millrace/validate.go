package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"millrace/cmd/millrace/term"
	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

type validateOptions struct {
	f     *factory
	out   output
	paths []string
}

// validateShape is what validate found.
type validateShape struct {
	Files       int                `json:"files"`
	Documents   int                `json:"documents"`
	Valid       bool               `json:"valid"`
	Diagnostics schema.Diagnostics `json:"diagnostics"`
}

func newCmdValidate(f *factory, runF func(*cobra.Command, *validateOptions) error) *cobra.Command {
	o := &validateOptions{f: f}
	cmd := &cobra.Command{
		Use: "validate [PATH… | -]", Short: "check declarations; single files need no workspace",
		Long: "Check declarations as intake would: files, folders, or stdin. Without a path, everything under\n" +
			workspace.Folder + "/" + workspace.IntakeDir + "/ is checked, and what only shows among all of them: double ids and cycles.",
		Example: "  millrace validate task.yaml\n  millrace validate -o github   # annotations of a pull request\n  millrace validate -o sarif > millrace.sarif",
	}
	o.out.flag(cmd, "sarif", "github")
	return leaf(cmd, o, runF, runValidate, func(args []string) { o.paths = args })
}

func runValidate(cmd *cobra.Command, o *validateOptions) error {
	v, err := o.check(cmd.Context())
	if err != nil {
		return err
	}
	v.Valid = !v.Diagnostics.HasErrors()
	switch o.out.Value {
	case "sarif":
		err = o.f.io.Print("json", term.Report{Data: sarif(v.Diagnostics)})
	case "github":
		for _, d := range v.Diagnostics {
			if _, err = fmt.Fprintln(o.f.io.Out, annotation(d)); err != nil {
				return err
			}
		}
	default:
		err = o.f.io.Print(o.out.Value, reportOf(v, func() {
			for _, d := range v.Diagnostics {
				_, _ = fmt.Fprintln(o.f.io.Out, d)
			}
			o.f.say("%s in %s: %s", some(v.Documents, "document"), some(v.Files, "file"), pick2(v.Valid, "valid", some(len(v.Diagnostics), "problem")))
		}, names(v.Diagnostics, func(d schema.Diagnostic) string { return d.Path })...))
	}
	if err == nil && !v.Valid {
		return silent(exitInvalid)
	}
	return err
}

func (o *validateOptions) check(ctx context.Context) (*validateShape, error) {
	v := &validateShape{Diagnostics: schema.Diagnostics{}}
	if len(o.paths) == 0 {
		_, seen, err := o.f.look(ctx)
		if err != nil {
			return nil, err
		}
		for _, f := range seen.Intake.Files {
			v.Files++
			v.Documents += len(f.Docs)
		}
		v.Diagnostics = rejections(seen)
		return v, nil
	}
	reg, err := o.f.registry()
	if err != nil {
		return nil, err
	}
	return v, o.f.declarations(o.paths, func(name, shown string, data []byte) error {
		parsed := reg.Parse(name, data)
		for i := range parsed.Diags {
			parsed.Diags[i].Path = shown
		}
		v.Files++
		v.Documents += len(parsed.Docs)
		v.Diagnostics = append(v.Diagnostics, parsed.Diags...)
		return nil
	})
}

// registry knows the families of the workspace, or the built-in ones where there is none.
func (f *factory) registry() (*document.Registry, error) {
	_, v, err := f.state()
	var none *workspace.NoWorkspaceError
	switch {
	case errors.As(err, &none):
		v = &workspace.View{State: workspace.NewState()}
	case err != nil:
		return nil, err
	}
	return document.NewRegistry(v.Families())
}

// declarations reads files, the files of folders, and stdin. name is the path as intake would see it:
// the folder below intake/ says which kind a document is.
func (f *factory) declarations(paths []string, each func(name, shown string, data []byte) error) error {
	for _, p := range paths {
		if p == "-" {
			data, err := io.ReadAll(io.LimitReader(f.io.In, schema.MaxFile+1))
			if err == nil {
				err = each(workspace.IntakeDir+"/stdin", "stdin", data)
			}
			if err != nil {
				return err
			}
			continue
		}
		err := filepath.WalkDir(p, func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if at != p && (workspace.Ignored(d.Name()) || !d.IsDir() && !d.Type().IsRegular()) {
				return pick2(d.IsDir(), fs.SkipDir, nil)
			}
			if d.IsDir() {
				return nil
			}
			data, err := readCapped(at)
			if err != nil {
				return err
			}
			return each(intakeName(at), at, data)
		})
		if missing(err) {
			return usage("name files or folders that exist", "there is no %s", p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readCapped(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, schema.MaxFile+1))
}

// intakeName is a path from its intake folder on.
func intakeName(at string) string {
	abs, err := filepath.Abs(at)
	if err != nil {
		abs = at
	}
	abs = filepath.ToSlash(abs)
	if _, below, ok := strings.Cut(abs, "/"+workspace.Folder+"/"+workspace.IntakeDir+"/"); ok {
		return path.Join(workspace.IntakeDir, below)
	}
	if _, below, ok := strings.Cut(abs, "/"+workspace.IntakeDir+"/"); ok {
		return path.Join(workspace.IntakeDir, below)
	}
	return path.Join(workspace.IntakeDir, path.Base(abs))
}

// annotation is a diagnostic as a workflow command of GitHub Actions.
func annotation(d schema.Diagnostic) string {
	esc := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	prop := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	place := "file=" + prop.Replace(d.Path)
	if d.Line > 0 {
		place += fmt.Sprintf(",line=%d", d.Line)
	}
	if d.Column > 0 {
		place += fmt.Sprintf(",col=%d", d.Column)
	}
	d.Path, d.Line = "", 0
	return fmt.Sprintf("::%s %s::%s", pick2(d.Severity == schema.Warning, "warning", "error"), place, esc.Replace(words(d)))
}

// words is a diagnostic without its place.
func words(d schema.Diagnostic) string {
	var parts []string
	for _, p := range []string{d.Subject, d.Field, d.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, ": ")
	if d.Hint != "" {
		s += "\n" + d.Hint
	}
	return s
}

// sarif is the log that code hosts take (SARIF 2.1.0).
func sarif(ds schema.Diagnostics) any {
	type m = map[string]any
	results := []m{}
	for _, d := range ds {
		place := m{"artifactLocation": m{"uri": filepath.ToSlash(d.Path)}}
		if d.Line > 0 {
			region := m{"startLine": d.Line}
			if d.Column > 0 {
				region["startColumn"] = d.Column
			}
			place["region"] = region
		}
		results = append(results, m{
			"ruleId": "declaration", "level": pick2(d.Severity == schema.Warning, "warning", "error"),
			"message": m{"text": words(d)}, "locations": []m{{"physicalLocation": place}},
		})
	}
	return m{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []m{{"tool": m{"driver": m{"name": "millrace", "rules": []m{{"id": "declaration"}}}}, "results": results}},
	}
}

type fmtOptions struct {
	f     *factory
	check bool
	paths []string
}

func newCmdFmt(f *factory, runF func(*cobra.Command, *fmtOptions) error) *cobra.Command {
	o := &fmtOptions{f: f}
	cmd := &cobra.Command{
		Use: "fmt [--check] [PATH… | -]", Short: "write Markdown declarations in their canonical form",
		Long: "Rewrite Markdown declarations in their canonical form, in place. Without a path: those of the workspace.\n" +
			"Other encodings are left alone; what is invalid is reported and left alone. '-' turns whatever comes on\n" +
			"stdin into canonical Markdown on stdout.",
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "change nothing: print the files that would change, and exit 1 if there are any")
	return leaf(cmd, o, runF, runFmt, func(args []string) { o.paths = args })
}

// fromHere is a path as somebody in this folder writes it.
func fromHere(path string) string {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

func runFmt(_ *cobra.Command, o *fmtOptions) error {
	reg, err := o.f.registry()
	if err != nil {
		return err
	}
	if len(o.paths) == 0 {
		w, err := o.f.open()
		if err != nil {
			return err
		}
		o.paths = []string{fromHere(within(w, workspace.IntakeDir))}
	}
	var diags schema.Diagnostics
	differ := 0
	err = o.f.declarations(o.paths, func(name, shown string, data []byte) error {
		stdin := shown == "stdin"
		if !stdin && path.Ext(name) != ".md" {
			return nil
		}
		forms, found := reg.Format(name, data)
		if found.HasErrors() {
			for _, d := range found {
				d.Path = shown
				diags = append(diags, d)
			}
			return nil
		}
		if stdin {
			for _, form := range forms {
				if _, err := o.f.io.Out.Write(form.Data); err != nil {
					return err
				}
			}
			return nil
		}
		if len(forms) != 1 || path.Ext(forms[0].Name) != ".md" || reg.Parse(name, data).Docs[0].Doc.Kind == schema.KindIdea {
			return nil // an idea is whatever somebody wrote
		}
		canonical := forms[0].Data
		if string(canonical) == string(data) {
			return nil
		}
		differ++
		if _, err := fmt.Fprintln(o.f.io.Out, shown); err != nil || o.check {
			return err
		}
		return replace(shown, canonical)
	})
	switch {
	case err != nil:
		return err
	case len(diags) > 0:
		return diags
	case o.check && differ > 0:
		return fail(exitDiffers, "'millrace fmt' rewrites them", "%d files are not in canonical form", differ)
	}
	return nil
}

// replace puts new bytes in a file's place, whole or not at all, with its mode.
func replace(name string, data []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".millrace-*.tmp")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(info.Mode().Perm()), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(temp.Name()))
	}
	return nil
}
