package document

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/schema"
)

const ticketSource = `
import "list"

#Ticket: {
	ticket_id!: #ID
	title!:     #Line
	points!:    int & >=1 & <=13
	sort!:      "bug" | "wish"
	due?:       #Time
	labels?:    [...#Line] & list.UniqueItems()
	owner?:     #Check
	if sort == "wish" {due!: _}
	depends_on?: #IDs @none()
}
#Check: {mail!: =~"@" @wrong("is no address") @right("write name@host")}
`

func ticket() *schema.Family {
	return &schema.Family{ID: "ticket", Plane: "execution", Intake: []string{"tickets"}, IDField: "ticket_id",
		Definition: "#Ticket", Source: ticketSource, Extension: ".md"}
}

// TestOperatorsFamily: a family that an operator brings is checked like ours, in our words.
func TestOperatorsFamily(t *testing.T) {
	r, err := NewRegistry(map[string]*schema.Family{"ticket": ticket(),
		"task": {ID: "task", Intake: []string{"tasks", "todo"}, IDField: "task_id", Definition: "#Task", Extension: ".md"}})
	if err != nil {
		t.Fatal(err)
	}
	good := "# A ticket\n\nTicket-ID: t-1\nPoints: 3\nSort: bug\nOwner: {\"mail\": \"a@b\"}\n\nLabels:\n- one\n- two\n"
	p := r.Parse("intake/x.md", []byte(good))
	if len(p.Docs) != 1 || p.Docs[0].Doc.Key() != (schema.Key{Family: "ticket", ID: "t-1"}) {
		t.Fatalf("got %v", p.Diags)
	}
	roundTrip(t, r, p.Docs[0].Doc)
	bad := "ticket_id: t-1\ntitle: T\npoints: 40\nsort: wihs\nlabels: [a, a]\nowner: {mail: nobody}\n"
	golden(t, "operators-family", diagnostics(r, "intake/x.yaml", bad)+
		diagnostics(r, "intake/tickets/y.yaml", "title: T\npoints: 40\nsort: bug\nlabels: [a, a]\n"))
	if got := diagnostics(r, "intake/tickets/y.yaml", "title: T\npoints: 4\nsort: wish\n"); got != "intake/tickets/y.yaml:1:1: ticket \"y\": due: is missing\n  add due\n" {
		t.Error(got)
	}
	if kind, ok := r.IntakeFolder("todo"); !ok || kind != "task" {
		t.Errorf("todo/ implies %q", kind)
	}
	if k, ok := r.KindOf("ticket"); !ok || k.Label != "Ticket-ID" || k.Extension != ".md" {
		t.Errorf("got %v", k)
	}
	if diags := r.CheckJSON("#Ticket", "t.json", []byte(`{"ticket_id": "t", "title": "T", "points": 1, "sort": "bug"}`)); diags != nil {
		t.Error(diags)
	}
}

func diagnostics(r *Registry, file, text string) string {
	return r.Parse(file, []byte(text)).Diags.Error() + "\n"
}

// TestFamilyOfABuiltInDefinition: it is found by its name or folder, and takes no task away.
func TestFamilyOfABuiltInDefinition(t *testing.T) {
	chore := &schema.Family{ID: "chore", Intake: []string{"chores"}, IDField: "task_id", Definition: "#Task"}
	r, err := NewRegistry(map[string]*schema.Family{"chore": chore})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"intake/chores/a.yaml": "chore", "intake/tasks/a.yaml": "task", "intake/a.yaml": "task"} {
		p := r.Parse(file, []byte("task_id: a\ntitle: T\nacceptance: [x]\n"))
		if len(p.Docs) != 1 || p.Docs[0].Doc.Kind != want {
			t.Errorf("%s: got %v, %v", file, p.Docs, p.Diags)
		}
	}
}

// TestFamiliesThatCannotBe: what is wrong with a definition is said when it is compiled.
func TestFamiliesThatCannotBe(t *testing.T) {
	tests := map[string]struct{ source, want string }{
		"broken":     {"#Ticket: {", "compile definition of family ticket"},
		"unknown":    {"#Ticket: {ticket_id!: #Nothing}", "families/ticket.cue:1:23: #Ticket.ticket_id: reference \"#Nothing\" not found"},
		"absent":     {"#Other: {ticket_id!: #ID}", "there is no #Ticket"},
		"no struct":  {"#Ticket: string", "is no struct"},
		"no id":      {"#Ticket: {title!: #Line}", "has no field ticket_id"},
		"open":       {"#Ticket: {ticket_id!: #ID, ...}", "is open"},
		"kind":       {"#Ticket: {ticket_id!: #ID, kind: \"ticket\"}", "leave it out"},
		"field name": {"#Ticket: {ticket_id!: #ID, \"Due Date\"?: string}", "lower-case"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := ticket()
			f.Source = test.source
			_, err := NewRegistry(map[string]*schema.Family{"ticket": f})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestStateIsChecked: what the runtime writes passes its own definitions, and a wrong field is named.
func TestStateIsChecked(t *testing.T) {
	r := registry(t)
	now := time.Date(2026, 11, 22, 10, 0, 0, 1, time.UTC)
	digest := schema.DigestOf(nil)
	key := schema.Key{Family: "task", ID: "a"}
	n := int64(3)
	item := &schema.Item{SchemaVersion: 1, Family: "task", ID: "a", State: "queue", Path: "tasks/queue/a.md", Generation: 1,
		Document: digest, Source: "declaration", Updated: now, Counters: map[string]int{"fix": 1},
		Declared: &schema.Declaration{Path: "intake/a.md", Digest: digest, Absent: &now}}
	values := map[string]any{
		"#Item": item,
		"#Request": &schema.Request{SchemaVersion: 1, ID: "req-1", Run: "run-1", Attempt: 1, Plane: "execution", Node: "b", Stage: "b",
			Item: key, Generation: 1, Plan: digest, Runner: schema.Runner{Name: "r", Adapter: "command"}, Created: now},
		"#Completion": &schema.Completion{SchemaVersion: 1, Request: "req-1", Run: "run-1", Exit: "completed", Ended: now,
			Tokens: &schema.Tokens{Input: &n}, Cost: &schema.Cost{USD: 0.25}, Claim: &schema.Claim{Outcome: "X", Source: "s", Metadata: map[string]any{"a": nil}}},
		"#Run": &schema.Run{SchemaVersion: 1, ID: "run-1", Item: key, Generation: 1, Plan: digest, Plane: "p", Graph: "g", State: "running",
			Node: "n", Started: now, Steps: []schema.Step{{Request: "q", Ended: now, Artifacts: map[string]schema.Digest{"a": digest}, Spawned: []schema.Key{key}}}},
		"#Control": &schema.Control{SchemaVersion: 1, Pauses: map[string]schema.Pause{"operator": {By: "me", Since: now}}},
		"#Hold":    &schema.Hold{SchemaVersion: 1, Since: now},
	}
	for name, v := range values {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if diags := r.CheckJSON(name, "x.json", data); diags != nil {
			t.Errorf("%s: %v", name, diags)
		}
	}
	item.Document, item.Generation, item.Source = "sha256:12", 0, "somebody"
	data, err := json.MarshalIndent(item, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state", r.CheckJSON("#Item", "state/status/task/a.json", data).Error()+"\n"+
		r.CheckJSON("#Control", "state/control.json", []byte(`{"schema_version": 2, "pause": {}}`)).Error()+"\n"+
		r.CheckJSON("#Control", "state/control.json", []byte(`{"schema_version": 2}`)).Error()+"\n")
}

// TestArtifacts: what stages write is checked against its definition, JSON or headed Markdown.
func TestArtifacts(t *testing.T) {
	r := registry(t)
	verdict := `{"schema_version": 1, "kind": "verdict", "created_at": "2026-11-22T08:00:00Z", "created_by": "arbiter",
 "root_spec_id": "s", "verdict": "gaps", "criteria": [{"id": "c1", "text": "works", "result": "no", "provenance": "fresh"}]}`
	if diags := r.CheckJSON("#Verdict", "verdict.json", []byte(verdict)); diags != nil {
		t.Error(diags)
	}
	packet := "# Recon\n\nRecon-Packet-ID: r\nProbe-ID: p\nDecision: to_execution\nVerification-Plan: {\"required_commands\": [\"go test\"]}\n\nRelevant-Paths:\n- cmd\n\nText.\n"
	if diags := r.CheckJSON("#ReconPacket", "recon_packet.md", []byte(packet)); diags.HasErrors() {
		t.Error(diags)
	}
	if diags := r.CheckJSON("#Task", "generated_task.json", []byte(`{"kind": "task", "task_id": "a", "title": "T", "acceptance": ["x"]}`)); diags != nil {
		t.Error(diags)
	}
	golden(t, "artifacts", r.CheckJSON("#Verdict", "verdict.json", []byte(strings.ReplaceAll(verdict, "fresh", "stale"))).Error()+"\n"+
		r.CheckJSON("#Verdict", "verdict.json", []byte(`{"kind": "verdit"}`)).Error()+"\n"+
		r.CheckJSON("#ReconPacket", "recon_packet.md", []byte("# R\n\nDecision: maybe\n")).Error()+"\n"+
		r.CheckJSON("#Nothing", "x.json", []byte("{}")).Error()+"\n"+
		r.CheckJSON("#Verdict", "verdict.json", []byte("{")).Error()+"\n")
}

// TestAdmission: defaults are filled once, on a copy, and never written over.
func TestAdmission(t *testing.T) {
	r := registry(t)
	now := time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC)
	incident := r.Parse("intake/incidents/i.yaml", []byte("title: I\nopened_by: somebody\n")).Docs[0].Doc
	before := incident.Digest()
	var got schema.Incident
	if err := r.Admit(incident, "operator", now).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Severity != "medium" || got.NeedsPlanning == nil || !*got.NeedsPlanning || got.OpenedBy != "somebody" || !got.OpenedAt.Equal(now.Truncate(time.Second)) {
		t.Errorf("got %+v", got)
	}
	if incident.Digest() != before {
		t.Error("admission changed the record as written")
	}
	spec := r.Parse("intake/specs/s.yaml", []byte("title: S\ngoals: [g]\nacceptance: [a]\n")).Docs[0].Doc
	if root := r.Admit(spec, "operator", now).Fields["root_spec_id"]; root != "s" {
		t.Errorf("a root spec's root is %v", root)
	}
	if Inadmissible(&schema.Document{Fields: map[string]any{"status_hint": "done"}}) == "" {
		t.Error("done work is admissible")
	}
}

// TestStored: a lifecycle folder holds one document of its family; labels of others are kept.
func TestStored(t *testing.T) {
	r := registry(t)
	doc, diags := r.ParseStored("task", "tasks/queue/a.md", []byte("# T\n\nTask-ID: a\nAcceptence: kept\nStatus-Hint: done\nAcceptance: x\n"))
	if doc == nil || diags.HasErrors() || len(diags) != 1 || doc.Body != "Acceptence: kept" {
		t.Errorf("got %v, %v", doc, diags)
	}
	for text, want := range map[string]string{
		"# S\n\nKind: spec\nGoals: g\nAcceptance: x\n":   "is a spec in a folder for task",
		"# S\n\nSpec-ID: s\nGoals: g\nAcceptance: x\n":   "is a spec in a folder for task",
		"---\nkind: nothing\n---\n":                      "is not a kind",
		"# T\n\nTask-ID: a\nTask-ID: b\nAcceptance: x\n": "is there twice",
		"": "is empty",
		"# T\n\nTask-ID: a\nAcceptance: x\nDepends-On:\n- n/a\n- Wrong One\n": "is not an id",
	} {
		doc, diags := r.ParseStored("task", "tasks/queue/stored.md", []byte(text))
		if doc != nil || !strings.Contains(diags.Error(), want) {
			t.Errorf("%q: got %v, %v", text, doc, diags)
		}
	}
	lineage := "# T\n\nSpec-ID: s\nAcceptance:\n- x\n"
	if doc, diags := r.ParseStored("task", "tasks/queue/stored.md", []byte(lineage)); doc == nil || doc.ID != "stored" {
		t.Errorf("a task of spec s, named by its file: got %v, %v", doc, diags)
	}
	if _, diags := r.ParseStored("task", "tasks/queue/a.yaml", []byte(valid+"---\n"+valid)); !strings.Contains(diags.Error(), "is a second document") {
		t.Errorf("got %v", diags)
	}
}

// TestFormat: any encoding comes out in canonical form, several documents one by one.
func TestFormat(t *testing.T) {
	r := registry(t)
	out, diags := r.Format("intake/tasks/two.yaml", load(t, "tasks/two.yaml"))
	if diags != nil || len(out) != 2 || out[0].Name != "reader.md" || !strings.HasPrefix(string(out[1].Data), "# Use the reader\n") {
		t.Errorf("got %v, %v", out, diags)
	}
	again, _ := r.Format(out[0].Name, out[0].Data)
	if string(again[0].Data) != string(out[0].Data) {
		t.Errorf("formatting is not stable:\n%s", again[0].Data)
	}
	out, _ = r.Format("intake/approve.yaml", load(t, "misc/approve.yaml"))
	if out[0].Name != "json-flag-builder-package-install-9f3c2a1b.md" {
		t.Errorf("got %s", out[0].Name)
	}
	if out, diags := r.Format("x.yaml", []byte("title: T")); out != nil || !diags.HasErrors() {
		t.Errorf("got %v", out)
	}
}

// TestManyAtOnce: the registry is safe for concurrent use.
func TestManyAtOnce(t *testing.T) {
	r := registry(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for _, file := range []string{"tasks/json-flag.md", "tasks/two.yaml", "specs/page.cue", "tasks/many-wrongs.md"} {
					for _, l := range r.Parse("intake/"+file, load(t, file)).Docs {
						roundTrip(t, r, r.Admit(l.Doc, "operator", time.Now()))
					}
				}
				r.CheckJSON("#Item", "x.json", []byte("{}"))
			}
		})
	}
	wg.Wait()
}

// TestEnvironment: CUE's debugging switches neither change what is valid nor vanish from what stages
// inherit.
func TestEnvironment(t *testing.T) {
	if os.Getenv("CUE_DEBUG") == "no-such-switch" {
		p := registry(t).Parse("intake/a.yaml", []byte(valid))
		if len(p.Docs) != 1 {
			t.Fatal(p.Diags)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvironment$")
	cmd.Env = append(os.Environ(), "CUE_DEBUG=no-such-switch", "CUE_EXPERIMENT=no-such-experiment")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
