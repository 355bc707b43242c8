package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// queuedWorkspace is a workspace with the given tasks queued.
func queuedWorkspace(t *testing.T, ids ...string) *watched {
	t.Helper()
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	for _, id := range ids {
		x.drop("intake/"+id+".md", taskDoc(id))
		x.until(id, isDeclared(id))
	}
	x.admitAll()
	x.settle()
	x.noHands()
	return x
}

func (x *watched) noHands() {
	x.t.Helper()
	x.until("no hands", func(v *View) bool { return len(v.Hands) == 0 })
	x.settle()
	x.round(func(v *View) *Mutation {
		if len(v.Hands) > 0 {
			x.t.Errorf("hands seen where nobody had one: %+v", v.Hands)
		}
		return nil
	})
}

// hand waits for the one hand there is to see.
func (x *watched) hand(what, id, path string) Hand {
	x.t.Helper()
	var found Hand
	x.until(what+" "+path, func(v *View) bool {
		if len(v.Hands) == 1 && v.Hands[0].What == what {
			found = v.Hands[0]
			return true
		}
		return false
	})
	if found.Key != taskKey(id) || found.Path != path {
		x.t.Errorf("%+v, want %s at %s", found, id, path)
	}
	return found
}

func (x *watched) item(id string) *schema.Item {
	x.t.Helper()
	var it *schema.Item
	x.view(func(v *View) *Mutation { it = v.Items[taskKey(id)]; return nil })
	return it
}

// commit changes an item as a controller would.
func (x *watched) commit(id string, change func(m *Mutation, it *schema.Item)) {
	x.t.Helper()
	x.view(func(v *View) *Mutation {
		m, it := &Mutation{By: "test", Why: "change"}, v.Items[taskKey(id)].Clone()
		change(m, it)
		m.PutItem(it)
		return m
	})
}

func move(to string) func(m *Mutation, it *schema.Item) {
	return func(m *Mutation, it *schema.Item) {
		next := "tasks/" + to + "/" + it.ID + ".md"
		m.MoveFile(it.Path, next, it.Document)
		it.Path, it.State = next, to
		if to == "queue" {
			it.State = schema.StateQueue
		}
	}
}

func TestOwnMovesAreNobodysHand(t *testing.T) {
	x := queuedWorkspace(t, "a", "b")
	for _, to := range []string{"active", "blocked", "queue", "active", "done"} {
		x.commit("a", move(to))
		x.round(func(v *View) *Mutation {
			if len(v.Hands) > 0 {
				t.Errorf("%s: %+v", to, v.Hands)
			}
			return nil
		})
		x.commit("b", func(m *Mutation, it *schema.Item) {
			data := []byte(taskDoc("b") + "\n" + to + "\n")
			m.PutFile(it.Path, it.Document, data)
			it.Document = schema.DigestOf(data)
		})
		x.noHands()
	}
}

func TestDocumentMovedByHand(t *testing.T) {
	x := queuedWorkspace(t, "a")
	x.rename("tasks/queue/a.md", "tasks/blocked/a.md")
	h := x.hand(HandMoved, "a", "tasks/blocked/a.md")
	if h.Was != "tasks/queue/a.md" || h.State != schema.StateBlocked || h.Doc == nil || h.Digest != x.item("a").Document {
		t.Errorf("%+v", h)
	}
	x.commit("a", func(_ *Mutation, it *schema.Item) { it.Path, it.State = h.Path, h.State })
	x.noHands()
	x.rename("tasks/blocked/a.md", "tasks/done/a.md") // a folder that is only listed
	x.hand(HandMoved, "a", "tasks/done/a.md")
	x.rename("tasks/done/a.md", "tasks/blocked/a.md")
	x.noHands()
}

func TestDocumentEditedByHand(t *testing.T) {
	x := queuedWorkspace(t, "a")
	x.write("tasks/queue/a.md", taskDoc("a")+"\nBy hand.\n")
	h := x.hand(HandEdited, "a", "tasks/queue/a.md")
	if h.Doc == nil || !strings.Contains(h.Doc.Body, "By hand.") || h.Digest == x.item("a").Document {
		t.Errorf("%+v", h)
	}
	x.write("tasks/queue/a.md", "no document at all")
	x.until("the invalid edit", func(v *View) bool { return len(v.Hands) == 1 && v.Hands[0].Diags.HasErrors() && v.Hands[0].Doc == nil })
	x.write("tasks/queue/a.md", taskDoc("b"))
	x.until("the other name", func(v *View) bool {
		return len(v.Hands) == 1 && strings.Contains(v.Hands[0].Diags.Error(), "task/b")
	})
}

func TestDocumentDeletedByHandAndRestored(t *testing.T) {
	x := queuedWorkspace(t, "a", "b")
	data, err := os.ReadFile(filepath.Join(x.dir, "tasks/queue/a.md"))
	if err != nil {
		t.Fatal(err)
	}
	x.remove("tasks/queue/a.md")
	x.hand(HandDeleted, "a", "tasks/queue/a.md")
	x.view(func(*View) *Mutation {
		m := &Mutation{By: "test", Why: "restore"}
		m.PutFile("tasks/queue/a.md", "", data)
		return m
	})
	x.view(func(v *View) *Mutation {
		if len(v.Hands) > 0 {
			t.Error("still shown after the commit that dealt with it: it would be done again")
		}
		return nil
	})
	x.noHands()
	x.remove("tasks/queue")
	x.until("both", func(v *View) bool {
		return len(v.Hands) == 2 && v.Hands[0].What == HandDeleted && v.Hands[1].What == HandDeleted
	})
}

func TestDocumentCopiedByHand(t *testing.T) {
	x := queuedWorkspace(t, "a")
	data, err := os.ReadFile(filepath.Join(x.dir, "tasks/queue/a.md"))
	if err != nil {
		t.Fatal(err)
	}
	x.write("tasks/active/a.md", string(data))
	if h := x.hand(HandCopied, "a", "tasks/active/a.md"); h.Was != "tasks/queue/a.md" || h.State != schema.StateActive {
		t.Errorf("%+v", h)
	}
	x.settle() // shown, and silent
	x.commit("a", func(_ *Mutation, it *schema.Item) { it.Priority = 7 })
	x.hand(HandCopied, "a", "tasks/active/a.md")
	x.remove("tasks/active/a.md")
	x.noHands()
}

func TestForeignFilesInClaimableFolder(t *testing.T) {
	x := queuedWorkspace(t)
	x.write("tasks/queue/stranger.md", taskDoc("stranger"))
	if h := x.hand(HandForeign, "stranger", "tasks/queue/stranger.md"); h.Doc == nil || h.Diags.HasErrors() || h.State != schema.StateQueue {
		t.Errorf("%+v", h)
	}
	x.remove("tasks/queue/stranger.md")
	x.noHands()
	x.write("tasks/queue/broken.md", "# Title only\n")
	if h := x.hand(HandForeign, "broken", "tasks/queue/broken.md"); h.Doc != nil || !h.Diags.HasErrors() {
		t.Errorf("%+v", h)
	}
	x.remove("tasks/queue/broken.md")
	x.noHands()
	if err := unix.Mkfifo(filepath.Join(x.dir, "tasks/queue/pipe.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	if h := x.hand(HandForeign, "pipe", "tasks/queue/pipe.md"); !strings.Contains(h.Diags.Error(), "named pipe") {
		t.Errorf("%+v", h)
	}
}

func TestHandsDoneWhileNobodyLooked(t *testing.T) {
	x := queuedWorkspace(t, "a", "b", "c")
	x.rename("tasks/queue/a.md", "tasks/cancelled/a.md")
	x.remove("tasks/queue/b.md")
	x.close()
	y := observeAt(t, x.w.Project, ObserveOptions{})
	y.until("both", func(v *View) bool {
		return len(v.Hands) == 2 && v.Hands[0].What == HandMoved && v.Hands[1].What == HandDeleted
	})
}

// A document that was moved and edited is told as one hand. When the file is taken away again, what is
// left is a document that is missing.
func TestMovedDocumentThatVanishesIsMissing(t *testing.T) {
	x := queuedWorkspace(t, "a")
	text := taskDoc("a") + "\nby hand\n"
	x.remove("tasks/queue/a.md")
	x.drop("tasks/blocked/a.md", text)
	x.hand(HandMoved, "a", "tasks/blocked/a.md")
	x.remove("tasks/blocked/a.md")
	x.hand(HandDeleted, "a", "tasks/queue/a.md")
	x.drop("tasks/blocked/a.md", text)
	x.hand(HandMoved, "a", "tasks/blocked/a.md")
	x.remove("tasks/blocked/a.md")
	x.view(func(*View) *Mutation { // whatever was shown is looked at anew
		m := &Mutation{By: "test", Why: "change"}
		m.PutControl(&schema.Control{SchemaVersion: schema.Version, Daemon: "test"})
		return m
	})
	x.hand(HandDeleted, "a", "tasks/queue/a.md")
}

// Hands are seen also while nothing has ever compiled: the lifecycle folders are then the built-in ones.
func TestHandsAreSeenWithoutAPlan(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.drop("millrace.cue", "runtime: {")
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("a", isDeclared("a"))
	x.admitAll()
	x.settle()
	x.drop("tasks/queue/a.md", "by hand\n")
	x.hand(HandEdited, "a", "tasks/queue/a.md")
}
