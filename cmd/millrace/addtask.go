package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"millrace/schema"
	"millrace/schema/document"
	"millrace/workspace"
)

type addOptions struct {
	f    *factory
	kind string
	file string // a document; "-" is stdin

	id, title, summary, body  string
	acceptance, checks, needs []string
	paths, tags               []string
	priority                  int
	noWait, reopen            bool
}

func newCmdAddTask(f *factory, runF func(*cobra.Command, *addOptions) error) *cobra.Command {
	o := &addOptions{f: f, kind: "task"}
	cmd := &cobra.Command{
		Use: "add-task [FILE | -]", Short: "declare a task, from a document or from flags, and see it admitted", Args: cobra.MaximumNArgs(1),
		Long: "Write a declaration into " + workspace.Folder + "/" + workspace.IntakeDir + "/tasks/ and wait until it has been admitted.\n" +
			"Dropping the file there yourself does the same.",
		Example: "  millrace add-task --title 'Add a --json flag' --acceptance '`status --json` prints one object' \\\n" +
			"      --check 'tests=go test ./...'\n  millrace add-task task.yaml",
	}
	fl := cmd.Flags()
	fl.StringVar(&o.title, "title", "", "what is to be done")
	fl.StringVar(&o.id, "id", "", "id (default: from the title)")
	fl.StringVar(&o.summary, "summary", "", "what it is about")
	fl.StringVar(&o.body, "body", "", "text for the agent, kept below the fields")
	fl.StringArrayVar(&o.acceptance, "acceptance", nil, "what must be so when it is done (repeat for more; at least one)")
	fl.StringArrayVar(&o.checks, "check", nil, "NAME=COMMAND that the runtime runs as evidence (repeat for more)")
	fl.StringArrayVar(&o.needs, "depends-on", nil, "id that must be done first (repeat for more)")
	fl.StringArrayVar(&o.paths, "target-path", nil, "file it is about (repeat for more)")
	fl.StringArrayVar(&o.tags, "tag", nil, "tag (repeat for more)")
	fl.IntVar(&o.priority, "priority", 0, "higher goes first")
	fl.BoolVar(&o.reopen, "reopen", false, "open its root again if that has been judged and closed")
	fl.BoolVar(&o.noWait, "no-wait", false, "only write the declaration")
	completeBy(cmd, "depends-on", f.items())
	return leaf(cmd, o, runF, runAddTask, func(args []string) {
		if len(args) > 0 {
			o.file = args[0]
		}
	})
}

func runAddTask(cmd *cobra.Command, o *addOptions) error {
	w, v, err := o.f.state()
	if err != nil {
		return err
	}
	reg, err := document.NewRegistry(v.Families())
	if err != nil {
		return err
	}
	doc, err := o.document(reg)
	if err != nil {
		return err
	}
	if it := v.Items[doc.Key()]; it != nil && it.Declared == nil {
		return refused("choose another id with --id", "%s exists already (%s)", it.Key(), it.State)
	}
	if err := o.reopenRoot(cmd, w, doc); err != nil {
		return err
	}
	rel := path.Join(workspace.IntakeDir, o.kind+"s", doc.ID+".md")
	fresh, err := drop(within(w, rel), reg.Render(doc))
	if err != nil {
		return err
	}
	o.f.say("%s %s/%s", pick2(fresh, "wrote", "declared already in"), workspace.Folder, rel)
	if o.noWait {
		return nil
	}
	k := doc.Key()
	settled, err := o.f.settle(cmd.Context(), w, func(s *workspace.State) bool { return s.Items[k] != nil })
	if err != nil {
		return err
	}
	if !settled {
		return o.unsettled(cmd, k)
	}
	_, v, err = o.f.state()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(o.f.io.Out, k)
	if it := v.Items[k]; it != nil {
		o.f.say("%s: %s", inWords(it.State), orElse(conditions(v, it), "nothing is in its way"))
		if w := v.Waiting(k); w != nil && it.State == schema.StateQueue {
			o.f.say("  %s", w.ClearedBy)
		}
	}
	return nil
}

// reopenRoot lets work in that comes after its root was judged, if that is what the operator wants.
func (o *addOptions) reopenRoot(cmd *cobra.Command, w *workspace.Workspace, doc *schema.Document) error {
	root, _ := doc.Fields["root_spec_id"].(string)
	if !o.reopen || root == "" {
		return nil
	}
	if err := o.f.operator(cmd); err != nil {
		return err
	}
	why := "for " + doc.Key().String()
	_, err := o.f.change(cmd, w, why, func(v *workspace.View, m *workspace.Mutation) error {
		m.ReopenRoot(v, root, "command", why)
		return nil
	})
	return err
}

// unsettled says why a declaration that was just written is not admitted.
func (o *addOptions) unsettled(cmd *cobra.Command, k schema.Key) error {
	_, v, err := o.f.look(cmd.Context())
	if err != nil {
		return err
	}
	w := v.Waiting(k)
	if w == nil {
		return nil
	}
	return &failure{pick2(w.Reason == workspace.WaitRejected, exitInvalid, exitRefused), fmt.Errorf("%s is not admitted: %s", k, w.Message), w.ClearedBy}
}

func inWords(state string) string { return pick2(state == schema.StateQueue, "queued", state) }

// document is what the flags or the file declare.
func (o *addOptions) document(reg *document.Registry) (*schema.Document, error) {
	name, data := o.kind+".json", []byte(nil)
	var err error
	switch {
	case o.file != "" && o.title != "":
		return nil, usage("give one of them", "both a file and --title")
	case o.file == "-":
		name = "stdin"
		data, err = io.ReadAll(io.LimitReader(o.f.io.In, schema.MaxFile+1))
	case o.file != "":
		name = filepath.Base(o.file)
		data, err = os.ReadFile(o.file)
	default:
		data, err = o.flags()
	}
	if err != nil {
		if missing(err) {
			return nil, &failure{exitUsage, err, "give the path of a document, or '-' for stdin"}
		}
		return nil, err
	}
	parsed := reg.Parse(path.Join(workspace.IntakeDir, o.kind+"s", name), data)
	for i := range parsed.Diags {
		parsed.Diags[i].Path = orElse(o.file, "the task")
	}
	if parsed.Diags.HasErrors() {
		return nil, parsed.Diags
	}
	if len(parsed.Docs) != 1 || parsed.Docs[0].Doc.Kind != o.kind {
		return nil, &failure{exitInvalid, fmt.Errorf("%s holds %d documents, not one %s", orElse(o.file, name), len(parsed.Docs), o.kind),
			"copy it into " + workspace.Folder + "/" + workspace.IntakeDir + "/ instead"}
	}
	return parsed.Docs[0].Doc, nil
}

// flags makes the record that the flags describe; the registry checks it like any other.
func (o *addOptions) flags() ([]byte, error) {
	if o.title == "" {
		return nil, usage("'millrace add-task --help' shows examples", "name a document, or describe the task with --title and --acceptance")
	}
	if len(o.acceptance) == 0 {
		return nil, usage("like --acceptance '`status --json` prints one object'", "say with --acceptance what must be so when it is done")
	}
	if o.id == "" {
		o.id = schema.Slug(o.title)
	}
	record := map[string]any{"kind": o.kind, o.kind + "_id": o.id, "title": o.title}
	for name, text := range map[string]string{"summary": o.summary, "body": o.body} {
		if text != "" {
			record[name] = text
		}
	}
	for name, list := range map[string][]string{"acceptance": o.acceptance, "depends_on": o.needs, "target_paths": o.paths, "tags": o.tags} {
		if len(list) > 0 {
			record[name] = list
		}
	}
	if o.priority != 0 {
		record["priority"] = o.priority
	}
	var checks []schema.Check
	for _, c := range o.checks {
		name, run, ok := strings.Cut(c, "=")
		if !ok || strings.ContainsAny(name, " \t") {
			return nil, usage("like --check 'tests=go test ./...'", "the check %q has no name", c)
		}
		checks = append(checks, schema.Check{Name: name, Run: run})
	}
	if checks != nil {
		record["checks"] = checks
	}
	return marshalLine(record)
}

// drop writes a declaration beside its place and renames it in, so that it is whole when it appears.
// Somebody else's file of that name is never replaced; false when the same bytes are there.
func drop(name string, data []byte) (bool, error) {
	if there, err := os.ReadFile(name); err == nil {
		if bytes.Equal(there, data) {
			return false, nil
		}
		return false, refused("edit that file, or choose another id with --id", "%s declares something else already", filepath.Base(name))
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return false, fmt.Errorf("write declaration: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".millrace-*.tmp")
	if err != nil {
		return false, fmt.Errorf("write declaration: %w", err)
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Link(temp.Name(), name) // unlike a rename it never replaces
	}
	if err = errors.Join(err, os.Remove(temp.Name())); err != nil {
		return false, fmt.Errorf("write declaration: %w", err)
	}
	return true, nil
}
