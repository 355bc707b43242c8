package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"millrace/schema"
)

var counter = schema.Key{Family: "task", ID: "counter"}

// count is one more than what the state says, decided under the lock: a lost commit is a lost number.
func count(s *State) (*Mutation, error) {
	it := &schema.Item{SchemaVersion: 1, Family: counter.Family, ID: counter.ID, State: "queue", Path: "tasks/queue/counter.md"}
	if old := s.Items[counter]; old != nil {
		it = old.Clone()
	}
	it.Attempts++
	m := &Mutation{By: "test", Why: "count"}
	m.PutFile(it.Path, it.Document, fmt.Appendf(nil, "%d\n", it.Attempts))
	it.Document = schema.DigestOf(fmt.Appendf(nil, "%d\n", it.Attempts))
	m.PutItem(it)
	return m, nil
}

func commitChild() int {
	n, _ := strconv.Atoi(os.Getenv("COUNT"))
	w, err := Open(os.Getenv("PROJECT"))
	for range n {
		if err == nil {
			_, err = w.Transact(context.Background(), count)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestEightProcessesCommitAtOnce(t *testing.T) {
	const processes, each = 8, 25
	w := newWorkspace(t)
	children := make([]*exec.Cmd, processes)
	for i := range children {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "MILLRACE_TEST_CHILD=commit", "PROJECT="+w.Project, "COUNT="+strconv.Itoa(each))
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children[i] = c
	}
	for range each { // and this process with them
		if _, err := w.Transact(t.Context(), count); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("child: %v", err)
		}
	}
	s, err := w.Load()
	if err != nil {
		t.Fatal(err)
	}
	want := (processes + 1) * each
	if got := s.Items[counter].Attempts; got != want || s.Seq != uint64(want+1) {
		t.Errorf("counted to %d in %d records, want %d", got, s.Seq, want)
	}
	if got := read(t, w, "tasks/queue/counter.md"); got != fmt.Sprintf("%d\n", want) {
		t.Errorf("document says %q", got)
	}
	findings, err := w.Verify(t.Context())
	if err != nil || len(findings) > 0 {
		t.Errorf("verify: %v %+v", err, findings)
	}
}

func TestManyGoroutinesOfOneWorkspaceCommitAtOnce(t *testing.T) {
	w := newWorkspace(t)
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for i := 0; i < 10 && err == nil; i++ {
				_, err = w.Transact(t.Context(), count)
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s, err := w.Load(); err != nil || s.Items[counter].Attempts != 80 {
		t.Errorf("%v %+v", err, s.Items[counter])
	}
}

func daemonChild() int {
	w, err := Open(os.Getenv("PROJECT"))
	if err == nil {
		_, err = w.LockDaemon(DaemonInfo{Instance: "child", PID: os.Getpid()})
	}
	fmt.Println(err)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends it
	return 0
}

func TestKilledDaemonLeavesNothingThatStopsTheNext(t *testing.T) {
	w := newWorkspace(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "MILLRACE_TEST_CHILD=daemon", "PROJECT="+w.Project)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 6)
	if _, err := stdout.Read(answer); err != nil || string(answer[:5]) != "<nil>" {
		t.Fatalf("child: %q %v", answer, err)
	}
	if _, err := w.LockDaemon(DaemonInfo{}); !errors.As(err, new(*DaemonRunningError)) || !strings.Contains(err.Error(), fmt.Sprint(child.Process.Pid)) {
		t.Errorf("beside it: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says that it was killed
	// Its message is still there, and its pid may be anybody's by now: neither is evidence.
	put(t, w, DaemonFile, fmt.Sprintf(`{"daemon":"child","pid":%d}`, os.Getpid()))
	if _, held := w.Daemon(); held {
		t.Error("a dead daemon holds the lock")
	}
	release, err := w.LockDaemon(DaemonInfo{Instance: "next"})
	if err != nil {
		t.Fatal(err)
	}
	release()
}
