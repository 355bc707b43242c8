// The scripted agent of the campaign: every stage of every plane, in no time. It does what agent/script of the project
// says of its item's root (see the script beside this folder), keeps the contract of any agent, and counts its
// visits in agent/visits, a file for each item and stage.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"millrace/schema"
)

func main() {
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// A visit is one call of the agent.
type visit struct {
	dir    string
	req    schema.Request
	root   string // number of the idea, as its id has it
	name   string // of the item in the script
	ending string // as the script has it; "" when it ends well
}

// ideas is how many different fates the script tells of.
const ideas = 8

var rooted = regexp.MustCompile(`\bi([0-9]{4,})\b`)

func work() error {
	v := visit{dir: os.Getenv("MILLRACE_REQUEST_DIR")}
	prompt, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(v.dir, schema.RequestFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &v.req); err != nil {
		return err
	}
	id := v.req.Item.ID
	m := rooted.FindStringSubmatchIndex(id)
	if m == nil { // a request to learn: its document names the root
		at := rooted.FindSubmatch(prompt)
		if at == nil {
			return fmt.Errorf("%s names no root", v.req.Item)
		}
		v.root, v.name = string(at[1]), "-learning"
	} else {
		v.root, v.name = id[m[2]:m[3]], id[m[1]:]
	}
	n, err := strconv.Atoi(v.root)
	if err != nil {
		return err
	}
	v.name = fmt.Sprintf("R%d%s", n%ideas, v.name)
	if err := v.script(filepath.Join(v.dir, "..", "..", "..", "..", "agent")); err != nil {
		return err
	}
	return v.end()
}

// script finds how this visit shall end, and counts it.
func (v *visit) script(folder string) error {
	count := filepath.Join(folder, "visits", v.req.Item.ID+"."+v.req.Stage)
	f, err := os.OpenFile(count, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteString("."); err != nil {
		return err
	}
	script, err := os.ReadFile(filepath.Join(folder, "script"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(script)) {
		if w := strings.Fields(line); len(w) > 2 && w[0] == v.name && w[1] == v.req.Stage {
			if i := int(info.Size()) + 2; i < len(w) {
				v.ending = w[i]
			}
		}
	}
	return nil
}

func (v *visit) end() error {
	key, value, set := strings.Cut(v.ending, "=")
	outcome := v.ending
	if v.ending == "" || set {
		outcome = v.well()
	}
	if v.ending == "!timeout" {
		time.Sleep(time.Hour)
	}
	specs, tasks := 0, 0
	result := map[string]any{"stage": v.req.Stage, "terminal_result": outcome}
	var err error
	switch key {
	case "specs":
		specs, err = strconv.Atoi(value)
	case "tasks":
		tasks, err = strconv.Atoi(value)
	case "resume_stage":
		result["metadata"] = map[string]any{key: value}
	}
	if err != nil {
		return err
	}
	if v.req.Stage == "manager" && outcome != schema.OutcomeBlocked {
		err = v.propose(max(1, tasks))
	}
	var emitted []string
	for i := range specs {
		id := fmt.Sprintf("i%s-s%d", v.root, i+1)
		emitted = append(emitted, id)
		err = v.write(schema.OutboxFolder+"/"+id+".yaml", fmt.Sprintf("kind: spec\nspec_id: %s\ntitle: Part %s\ngoals: [it works]\nacceptance: [it works]\n", id, id))
	}
	if err != nil {
		return err
	}
	for _, a := range v.req.Artifacts {
		if a.NeededFor(outcome) {
			if err := v.artifact(a, outcome, emitted); err != nil {
				return err
			}
		}
	}
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return v.write(schema.TerminalFile, string(data))
}

// well is the outcome that says all is well.
func (v *visit) well() string {
	for _, o := range v.req.Outcomes {
		if strings.HasSuffix(o, "_COMPLETE") || strings.HasSuffix(o, "_PASS") {
			return o
		}
	}
	return schema.OutcomeBlocked
}

func (v *visit) propose(tasks int) error {
	base := strings.TrimPrefix(v.req.Item.ID, "idea-")
	id := func(i int) string { return fmt.Sprintf("%s-t%d", base, i) }
	for i := 1; i <= tasks; i++ {
		text := fmt.Sprintf("kind: task\ntask_id: %s\ntitle: Do %s\nacceptance: [it is done]\nchecks: [{name: holds, run: \"true\"}]\n", id(i), id(i))
		if i == 3 || i == 5 {
			text += "depends_on: [" + id(i-1) + "]\n"
		}
		if err := v.write(schema.OutboxFolder+"/"+id(i)+".yaml", text); err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) artifact(a schema.Artifact, outcome string, emitted []string) error {
	if strings.HasSuffix(a.File, "/") {
		return v.write(a.File+"SKILL.md", "# Campaign\n\nDo what the script says.\n")
	}
	fields := map[string]any{"schema_version": 1, "created_at": time.Now().UTC().Format(time.RFC3339), "created_by": v.req.Stage}
	switch a.Schema {
	case "#PlannerDisposition":
		fields["kind"], fields["disposition"] = "planner_disposition", "active_source_ready_for_manager"
		fields["source_work_item_family_id"], fields["source_work_item_id"] = v.req.Item.Family, v.req.Item.ID
		if emitted != nil {
			fields["disposition"], fields["emitted_spec_ids"] = "emitted_child_specs", emitted
		}
	case "#Verdict":
		fields["kind"], fields["root_spec_id"], fields["verdict"] = "verdict", v.req.Item.ID, "pass"
		criterion := map[string]any{"id": "c1", "text": "it works", "result": "met", "provenance": "fresh"}
		if outcome != "ARBITER_COMPLETE" {
			criterion["result"], fields["verdict"] = "gap", "gaps"
			fields["gaps"] = []any{map[string]any{"id": "g1", "title": "It does not work yet"}}
		}
		fields["criteria"] = []any{criterion}
	case "#CuratorDecision":
		fields["kind"], fields["decision"], fields["target_skill_id"] = "curator_decision", "apply", "campaign"
		fields["changes"] = []any{map[string]any{"path": "SKILL.md"}}
	default:
		return v.write(a.File, fmt.Sprintf("# %s\n\nof %s\n", a.Name, v.req.ID))
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return v.write(a.File, string(data))
}

func (v *visit) write(name, text string) error {
	at := filepath.Join(v.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, []byte(text), 0o644)
}
