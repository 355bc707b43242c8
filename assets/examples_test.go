package assets_test

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/document"
)

// defined says which definition the runtime holds a file to. A prompt that lists one of these shows an example of it.
var defined = map[string]string{
	"recon_packet.md":                "#ReconPacket",
	"planner_disposition.json":       "#PlannerDisposition",
	"verdict.json":                   "#Verdict",
	"blueprint_manifest.json":        "#BlueprintManifest",
	"blueprint_drafts.json":          "#BlueprintDrafts",
	"blueprint_packet.json":          "#BlueprintPacket",
	"blueprint_evaluation.json":      "#BlueprintEvaluation",
	"blueprint_critique.json":        "#BlueprintCritique",
	"generated_task.json":            "#Task",
	"blueprint_repair_decision.json": "#BlueprintRepairDecision",
	"repaired_generated_task.json":   "#Task",
	"curator_decision.json":          "#CuratorDecision",
}

// An example is a fenced block of an entrypoint whose info string is a language and a file name.
type example struct {
	stage, file string
	data        []byte
}

var (
	fenced = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	listed = regexp.MustCompile("(?m)^- `([^`# ]+)`: ")
)

// examples are those of every entrypoint; lists are the files that each says it wants written.
func examples(t *testing.T) (all []example, lists map[string][]string) {
	t.Helper()
	lists = map[string][]string{}
	for name, data := range assets.Files() {
		if !strings.HasPrefix(name, "entrypoints/") {
			continue
		}
		stage, text := strings.TrimSuffix(path.Base(name), ".md"), string(data)
		for _, m := range listed.FindAllStringSubmatch(text, -1) {
			lists[stage] = append(lists[stage], m[1])
		}
		if n := strings.Count(text, "\n```"); n != 2*len(fenced.FindAllString(text, -1)) {
			t.Errorf("%s: a fenced block is not closed", name)
		}
		for _, m := range fenced.FindAllStringSubmatch(text, -1) {
			_, file, ok := strings.Cut(m[1], " ")
			if !ok {
				t.Errorf("%s: a fenced block names no file, so nothing checks it: ```%s", name, m[1])
				continue
			}
			all = append(all, example{stage, file, []byte(m[2])})
		}
	}
	return all, lists
}

func registry(t *testing.T) *document.Registry {
	t.Helper()
	r, err := document.NewRegistry(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEntrypointsShowWhatIsChecked: what an agent must write in a form that is checked is shown to it, in a form that
// passes. So a prompt cannot drift from the definitions.
func TestEntrypointsShowWhatIsChecked(t *testing.T) {
	all, lists := examples(t)
	r := registry(t)
	shown := map[string]map[string]bool{}
	for _, e := range all {
		if shown[e.stage] == nil {
			shown[e.stage] = map[string]bool{}
		}
		shown[e.stage][e.file] = true
		if dir, file := path.Split(e.file); dir == schema.OutboxFolder+"/" {
			proposed(t, r, e, file)
			continue
		}
		definition := defined[e.file]
		if definition == "" || !slices.Contains(lists[e.stage], e.file) {
			t.Errorf("%s shows %s, which it does not list or which has no definition", e.stage, e.file)
			continue
		}
		if diags := r.CheckJSON(definition, e.file, e.data); diags != nil {
			t.Errorf("%s shows a wrong example:\n%s", e.stage, diags.Error())
		}
		var head schema.ArtifactHead
		if path.Ext(e.file) == ".json" && json.Unmarshal(e.data, &head) == nil && definition != "#Task" && head.CreatedBy != e.stage {
			t.Errorf("%s shows %s made by %q", e.stage, e.file, head.CreatedBy)
		}
	}
	wanted := map[string]bool{}
	for stage, files := range lists {
		for _, file := range files {
			if defined[file] == "" && path.Ext(file) != ".json" {
				continue
			}
			wanted[file] = true
			if !shown[stage][file] {
				t.Errorf("%s lists %s and shows no example of it", stage, file)
			}
		}
	}
	for file := range defined {
		if !wanted[file] {
			t.Errorf("no entrypoint lists %s", file)
		}
	}
}

// proposed holds a document of the outbox to what intake would say of it; it is named like its file.
func proposed(t *testing.T, r *document.Registry, e example, file string) {
	t.Helper()
	p := r.Parse("intake/"+file, e.data)
	if len(p.Docs) != 1 || p.Diags != nil {
		t.Errorf("%s shows a wrong document:\n%s", e.stage, p.Diags.Error())
		return
	}
	if doc := p.Docs[0].Doc; doc.ID != strings.TrimSuffix(file, path.Ext(file)) {
		t.Errorf("%s shows %s in %s", e.stage, doc.Key(), e.file)
	}
}

// shows decodes the examples of one file, in the order of the prompt.
func shows[T any](t *testing.T, stage, file string) (all []T) {
	t.Helper()
	found, _ := examples(t)
	for _, e := range found {
		if e.stage != stage || e.file != file {
			continue
		}
		var v T
		if err := json.Unmarshal(e.data, &v); err != nil {
			t.Fatalf("%s of %s: %v", file, stage, err)
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		t.Fatalf("%s shows no %s", stage, file)
	}
	return all
}

// TestBlueprintExamplesAgree: what no definition can say of two files holds for the examples of them: manifest and
// drafts are one set, and packet, evaluation, critique and task speak of the same draft.
func TestBlueprintExamplesAgree(t *testing.T) {
	manifest := shows[schema.BlueprintManifest](t, "manager_blueprint", "blueprint_manifest.json")[0]
	var ids []string
	for i, d := range shows[schema.BlueprintDrafts](t, "manager_blueprint", "blueprint_drafts.json")[0].Drafts {
		for _, need := range d.DependsOn {
			if !slices.Contains(ids, need) {
				t.Errorf("draft %s depends on %s, which is no earlier one", d.ID, need)
			}
		}
		if ids = append(ids, d.ID); d.Index != i || d.ManifestID != manifest.ID {
			t.Errorf("draft %s has the index %d of %s", d.ID, d.Index, d.ManifestID)
		}
	}
	if !slices.Equal(ids, manifest.DraftIDs) || manifest.DraftCount != len(ids) {
		t.Errorf("the manifest lists %d drafts, %v; the drafts are %v", manifest.DraftCount, manifest.DraftIDs, ids)
	}

	packet := shows[schema.BlueprintPacket](t, "contractor_blueprint", "blueprint_packet.json")[0].BlueprintIDs
	critique := shows[schema.BlueprintCritique](t, "evaluator_blueprint", "blueprint_critique.json")[0]
	if critique.BlueprintIDs != packet {
		t.Errorf("the packet is %v, the critique %v", packet, critique.BlueprintIDs)
	}
	decided := map[string]bool{}
	for _, e := range shows[schema.BlueprintEvaluation](t, "evaluator_blueprint", "blueprint_evaluation.json") {
		decided[e.Decision] = true
		if rejected := e.Decision == "rejected"; rejected != (e.CritiqueID == critique.ID && e.ID == critique.EvaluationID) {
			t.Errorf("%s: %s with the critique %q", e.ID, e.Decision, e.CritiqueID)
		}
		if e.BlueprintID != packet.BlueprintID || e.DraftID != packet.DraftID {
			t.Errorf("%s judges %v", e.ID, e.BlueprintIDs)
		}
	}
	if len(decided) != 2 {
		t.Errorf("only %v is shown", decided)
	}
	if task := shows[schema.Task](t, "evaluator_blueprint", "generated_task.json")[0]; task.ID != packet.DraftID {
		t.Errorf("the task of the draft %s is %s", packet.DraftID, task.ID)
	}
}

// TestExamplesNameTheirDocuments: the ids that a disposition and a packet name are those of the documents beside them.
func TestExamplesNameTheirDocuments(t *testing.T) {
	all, _ := examples(t)
	documents := map[string][]string{}
	for _, e := range all {
		if dir, file := path.Split(e.file); dir != "" {
			documents[e.stage] = append(documents[e.stage], strings.TrimSuffix(file, path.Ext(file)))
		}
		if e.file == "recon_packet.md" && !strings.Contains(string(e.data), "\nEmitted-Task-ID: status-json-flag\n") {
			t.Error("the packet of recon does not name its task")
		}
	}
	if !slices.Contains(documents["recon"], "status-json-flag") || len(documents["manager"]) == 0 || len(documents["planner"]) == 0 {
		t.Errorf("documents are shown for %v", documents)
	}
	for _, d := range shows[schema.PlannerDisposition](t, "planner", "planner_disposition.json") {
		for _, id := range documents["planner"] {
			if parts := d.Disposition == "emitted_child_specs"; parts != slices.Contains(d.EmittedSpecIDs, id) {
				t.Errorf("%s names %v, and %s is shown", d.Disposition, d.EmittedSpecIDs, id)
			}
		}
	}
}
