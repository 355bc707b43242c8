package demoagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
	"millrace/workspace"
)

// item is the document of the work item, as the prompt quotes it.
func (a *agent) item() string {
	_, rest, _ := strings.Cut(a.prompt, "\n## Work item\n\n")
	fence, rest, _ := strings.Cut(rest, "\n")
	text, _, _ := strings.Cut(rest, "\n"+fence+"\n")
	return text + "\n"
}

// field and list read the head of a document in headed Markdown.
func field(doc, name string) string {
	head, _, _ := strings.Cut(doc, "\n---\n")
	_, rest, _ := strings.Cut(head, "\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func list(doc, name string) []string {
	head, _, _ := strings.Cut(doc, "\n---\n")
	_, rest, _ := strings.Cut(head, "\n"+name+":\n")
	var all []string
	for line := range strings.Lines(rest) {
		entry, begins := strings.CutPrefix(line, "- ")
		switch {
		case begins:
			all = append(all, strings.TrimSpace(entry))
		case len(all) > 0 && strings.HasPrefix(line, "  "):
			all[len(all)-1] += " " + strings.TrimSpace(line)
		default:
			return all
		}
	}
	return all
}

// find reads the one document of an item, in whichever folder of its family it lies.
func find(family, id string) (string, error) {
	files, err := filepath.Glob(filepath.Join(workspace.Folder, family, "*", id+".md"))
	if err != nil || id == "" || len(files) != 1 {
		return "", fmt.Errorf("%d documents of %q lie in %s", len(files), id, family)
	}
	data, err := os.ReadFile(files[0])
	return string(data), err
}

// audit looks up what the task of an incident leaves open.
func (a *agent) audit() error {
	source := field(a.item(), "Source-Task-ID")
	text, err := find("tasks", source)
	if err != nil {
		return fmt.Errorf("read the task that came back: %w", err)
	}
	blocks, err := parse(text)
	if err != nil {
		return err
	}
	a.say("The task %s came back: %s.", source, field(a.item(), "Trigger-Reason"))
	for _, evidence := range list(a.item(), "Evidence-Paths") {
		a.say("- evidence: %s", evidence)
	}
	for _, b := range blocks {
		if b.verb == verbQuestion {
			a.say("- to be settled: %s", strings.Join(b.lines, " "))
		}
	}
	return nil
}

// dispose decides that tasks can be cut. Those of a spec stand in it; those that take the place of a task which came
// back stand in the root spec, and manager finds them in the summary.
func (a *agent) dispose() error {
	text, after := a.item(), ""
	if a.request.Item.Family == schema.FamilyIncident {
		var err error
		if text, err = find("specs", field(text, "Root-Spec-ID")); err != nil {
			return fmt.Errorf("read the root spec: %w", err)
		}
		after = field(a.item(), "Source-Task-ID")
	}
	blocks, err := parse(text)
	if err != nil {
		return err
	}
	chosen, quoted := tasks(blocks, after), ""
	if len(chosen) == 0 {
		return errors.New("the spec has no block that says what the tasks are")
	}
	for _, b := range chosen {
		a.say("- to be cut: %s", b.title())
		if after != "" {
			quoted += fmt.Sprintf("\n%stask %s\n%s%s\n", b.fence, b.path, b.text(), b.fence)
		}
	}
	a.made["planner_summary"] = a.titled("planner_summary") + quoted
	return a.make("planner_disposition", schema.PlannerDisposition{
		ArtifactHead: a.head("planner_disposition"), SourceFamily: a.request.Item.Family, SourceID: a.request.Item.ID,
		Disposition: "active_source_ready_for_manager",
	})
}

// propose puts the tasks that the prompt spells out into the outbox.
func (a *agent) propose() error {
	chosen := tasks(a.blocks, "")
	if len(chosen) == 0 {
		return errors.New("nothing that I was shown says what the tasks are")
	}
	outbox := filepath.Join(a.dir, schema.OutboxFolder)
	if err := os.MkdirAll(outbox, 0o777); err != nil {
		return fmt.Errorf("make outbox: %w", err)
	}
	for _, b := range chosen {
		if err := os.WriteFile(filepath.Join(outbox, b.path), []byte(b.text()), 0o666); err != nil {
			return fmt.Errorf("propose task: %w", err)
		}
		a.say("- proposed: %s", b.title())
	}
	return nil
}

func (a *agent) head(kind string) schema.ArtifactHead {
	return schema.ArtifactHead{SchemaVersion: 1, Kind: kind, CreatedAt: time.Now().UTC().Truncate(time.Second), CreatedBy: a.request.Stage}
}

// make has a JSON artifact written.
func (a *agent) make(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	a.made[name] = string(data) + "\n"
	return err
}
