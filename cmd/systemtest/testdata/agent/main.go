// The scripted agent of the system tests: a stage's worth of work in a millisecond. It keeps the
// contract of any agent (prompt on stdin, artifacts in the request folder, one marker at the end) and
// writes down that it was started, so that the tests can count.
//
// In the project folder, agent/<item> scripts an item: a line "STAGE OUTCOME OUTCOME …" gives the
// outcomes of that stage's visits in turn, "!kill" ends it by signal, "!silent" says nothing,
// "!exit" fails. agent/delay holds milliseconds to work; while agent/hold exists, work does not end.
// agent/log gets a line per start and end.
//
// What lies in agent/files/<item>/<stage>/ is copied into the request folder at every visit, what lies in
// agent/files/<item>/<stage>@<n>/ at the n-th: artifacts, outbox/, terminal_result.json; a link is made anew as it is.
// A file "say" there is the final message instead of the marker. In text, {item}, {request} and {root} stand for the
// ids of work item, request and root spec. What nobody scripts says that all is well:
// artifacts with a definition, and the one task that a manager proposes.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"millrace/schema"
)

func main() {
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func work() error {
	dir, project := os.Getenv("MILLRACE_REQUEST_DIR"), os.Getenv("MILLRACE_WORKSPACE")
	if base := filepath.Base(project); base == "millrace-agents" {
		project = filepath.Dir(project)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, schema.RequestFile))
	if err != nil {
		return err
	}
	var req schema.Request
	if err := json.Unmarshal(data, &req); err != nil {
		return err
	}
	note := func(what string) error {
		return logLine(project, fmt.Sprintf("%s %s %d %s %s", what, req.ID, time.Now().UnixNano(), req.Item, req.Stage))
	}
	if err := note("start"); err != nil {
		return err
	}
	alone, err := os.OpenFile(filepath.Join(project, "agent", "busy"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if syscall.Flock(int(alone.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		if err := note("overlap"); err != nil { // two agents at once on one tree
			return err
		}
	}
	if d, err := os.ReadFile(filepath.Join(project, "agent", "delay")); err == nil {
		if ms, err := strconv.Atoi(strings.TrimSpace(string(d))); err == nil {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
	}
	for {
		if _, err := os.Stat(filepath.Join(project, "agent", "hold")); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	visit := visits(project, &req)
	outcome, err := next(project, &req, visit)
	if err != nil {
		return err
	}
	switch outcome {
	case "!kill":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "!silent":
		return note("end")
	case "!exit":
		return fmt.Errorf("scripted failure")
	}
	for _, a := range req.Artifacts {
		if a.NeededFor(outcome) {
			if err := os.WriteFile(filepath.Join(dir, a.File), []byte(content(a, &req, outcome)), 0o644); err != nil {
				return err
			}
		}
	}
	if outcome == "MANAGER_COMPLETE" {
		if err := propose(dir, &req); err != nil {
			return err
		}
	}
	scripts := filepath.Join(project, "agent", "files", req.Item.ID, req.Stage)
	for _, from := range []string{scripts, fmt.Sprintf("%s@%d", scripts, visit+1)} {
		if err := lay(from, dir, &req); err != nil {
			return err
		}
	}
	if err := note("end"); err != nil {
		return err
	}
	said, err := os.ReadFile(filepath.Join(dir, "say"))
	if err == nil {
		_, err = os.Stdout.Write(said)
		return err
	}
	fmt.Println("### " + outcome)
	return nil
}

// propose cuts one task, unless what is to be proposed is scripted.
func propose(dir string, req *schema.Request) error {
	scripted, err := filepath.Glob(filepath.Join(dir, "..", "..", "..", "..", "agent", "files", req.Item.ID, "manager*", schema.OutboxFolder))
	if err != nil || len(scripted) > 0 {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, schema.OutboxFolder), 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("kind: task\ntask_id: %s-task\ntitle: All of %s\nacceptance: [it is done]\n", req.Item.ID, req.Item.ID)
	return os.WriteFile(filepath.Join(dir, schema.OutboxFolder, "task.yaml"), []byte(text), 0o644)
}

// lay copies scripted files into the request folder; none when there is no such folder.
func lay(from, to string, req *schema.Request) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if utf8.Valid(data) {
			data = []byte(strings.NewReplacer("{item}", req.Item.ID, "{request}", req.ID, "{root}", root(req)).Replace(string(data)))
		}
		return os.WriteFile(target, data, 0o644)
	})
}

// root is the root spec that the work item's document names, else the item itself.
func root(req *schema.Request) string {
	found, _ := filepath.Glob(filepath.Join(os.Getenv("MILLRACE_WORKSPACE"), "*", "active", req.Item.ID+".md"))
	for _, file := range found {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			if id, ok := strings.CutPrefix(line, "Root-Spec-ID: "); ok {
				return strings.TrimSpace(id)
			}
		}
	}
	return req.Item.ID
}

// content of an artifact that nobody scripts.
func content(a schema.Artifact, req *schema.Request, outcome string) string {
	head := `"schema_version": 1, "created_at": "2026-11-22T08:00:00Z", "created_by": "` + req.Stage + `", `
	switch a.Schema {
	case "#PlannerDisposition":
		return fmt.Sprintf(`{%s"kind": "planner_disposition", "source_work_item_family_id": %q, "source_work_item_id": %q, "disposition": "active_source_ready_for_manager"}`,
			head, req.Item.Family, req.Item.ID)
	case "#Verdict":
		verdict, gaps := "pass", ""
		if strings.Contains(outcome, "NEED") {
			verdict, gaps = "gaps", `, "gaps": [{"id": "g1", "title": "something is missing"}]`
		}
		return fmt.Sprintf(`{%s"kind": "verdict", "root_spec_id": %q, "verdict": %q, "criteria": [{"id": "c1", "text": "it is done", "result": %q, "provenance": "fresh"}]%s}`,
			head, req.Item.ID, verdict, verdict, gaps)
	}
	return "# " + a.Name + "\n\nof " + req.ID + "\n"
}

// visits counts the earlier visits of the item to the stage. Other lines of the log say nothing of them: who works
// beside another plane notes that as well.
func visits(project string, req *schema.Request) int {
	log, err := os.ReadFile(filepath.Join(project, "agent", "log"))
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "start ") && !strings.HasPrefix(line, "start "+req.ID+" ") &&
			strings.HasSuffix(line, fmt.Sprintf(" %s %s\n", req.Item, req.Stage)) {
			n++
		}
	}
	return n
}

// next finds the scripted outcome of this visit, or the one that says all is well.
func next(project string, req *schema.Request, visits int) (string, error) {
	script, err := os.ReadFile(filepath.Join(project, "agent", req.Item.ID))
	if err == nil {
		for line := range strings.Lines(string(script)) {
			words := strings.Fields(line)
			if len(words) > 1 && words[0] == req.Stage && visits+1 < len(words) {
				return words[visits+1], nil
			}
		}
	}
	for _, o := range req.Outcomes {
		if o != schema.OutcomeBlocked && !strings.Contains(o, "NEED") {
			return o, nil
		}
	}
	return "", fmt.Errorf("no outcome to choose in %v", req.Outcomes)
}

func logLine(project, line string) error {
	f, err := os.OpenFile(filepath.Join(project, "agent", "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		return err
	}
	return f.Close()
}
