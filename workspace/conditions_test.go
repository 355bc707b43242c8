package workspace

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// What a daemon lives with is told in a file that keeps its size, so that it can be told on a full disk, and
// only for as long as the daemon runs.
func TestConditionsAreShownInPlaceWhileTheDaemonRuns(t *testing.T) {
	w := newWorkspace(t)
	release, err := w.LockDaemon(DaemonInfo{Instance: "daemon-1", SingleHost: true})
	if err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(w.abs(ConditionsFile))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shown := []Condition{{Name: "commit", Message: "the disk is full", Since: since}, {Name: "start req-1", Message: strings.Repeat("é", 2000), Since: since}}
	if err := w.ShowConditions(shown); err != nil {
		t.Fatal(err)
	}
	if all := w.Conditions(); len(all) != 2 || !reflect.DeepEqual(all[0], shown[0]) || size() != before {
		t.Errorf("%+v in %d bytes, were %d", all, size(), before)
	}
	if err := w.ShowConditions(nil); err != nil {
		t.Fatal(err)
	}
	if all := w.Conditions(); len(all) != 0 || size() != before {
		t.Errorf("%+v in %d bytes, were %d", all, size(), before)
	}
	if err := w.ShowConditions(shown); err != nil {
		t.Fatal(err)
	}
	release()
	if all := w.Conditions(); len(all) != 0 {
		t.Errorf("without a daemon: %+v", all)
	}
}

func TestWhatTheDaemonLivesWithIsAReason(t *testing.T) {
	v := &View{State: NewState(), Troubles: []Condition{{Name: "commit", Message: "the disk is full"}, {Name: "checkpoint"}, {Name: "start req-1", Message: "no more processes"}}}
	if w := v.Standing(); len(w) == 0 || w[0].Reason != WaitTrouble || w[0].Message != "commit: the disk is full" || len(w) > 1 && w[1].Reason == WaitTrouble {
		t.Errorf("waiting: %+v", w)
	}
	it := &schema.Item{Family: "task", ID: "a", State: schema.StateActive, Run: "run-1"}
	v.Items[it.Key()] = it
	v.Runs["run-1"] = &schema.Run{ID: "run-1", Item: it.Key(), Request: "req-1", State: schema.RunRunning}
	if w := v.Waiting(it.Key()); w == nil || w.Message != "start req-1: no more processes" {
		t.Errorf("waiting: %+v", w)
	}
}
