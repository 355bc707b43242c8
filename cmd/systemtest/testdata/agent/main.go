// The scripted agent of the system tests: a stage's worth of work in a millisecond. It keeps the
// contract of any agent (prompt on stdin, artifacts in the request folder, one marker at the end) and
// writes down that it was started, so that the tests can count.
//
// In the project folder, agent/<item> scripts an item: a line "STAGE OUTCOME OUTCOME …" gives the
// outcomes of that stage's visits in turn, "!kill" ends it by signal, "!silent" says nothing,
// "!exit" fails. agent/delay holds milliseconds to work; while agent/hold exists, work does not end.
// agent/log gets a line per start and end.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

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
	outcome, err := next(project, &req)
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
			if err := os.WriteFile(filepath.Join(dir, a.File), []byte("# "+a.Name+"\n\nof "+req.ID+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
	if err := note("end"); err != nil {
		return err
	}
	fmt.Println("### " + outcome)
	return nil
}

// next finds the scripted outcome of this visit, or the one that says all is well.
func next(project string, req *schema.Request) (string, error) {
	visits := 0
	if log, err := os.ReadFile(filepath.Join(project, "agent", "log")); err == nil {
		visits = strings.Count(string(log), fmt.Sprintf(" %s %s\n", req.Item, req.Stage))
		visits -= strings.Count(string(log), "start "+req.ID+" ") // not this one
		visits -= endsOf(string(log), req)
	}
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

// endsOf counts the end lines of earlier visits, so that a visit counts once.
func endsOf(log string, req *schema.Request) int {
	n := 0
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "end ") && strings.HasSuffix(line, fmt.Sprintf(" %s %s\n", req.Item, req.Stage)) {
			n++
		}
	}
	return n
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
