package workspace

import "testing"

// The daemon writes below skills/learned/, and the folder stays its operator's: what they made of a file since the
// decision, or since it was written, stays whatever crash follows.
func TestOperatorsEditOfALearnedSkillStays(t *testing.T) {
	const skill, gone = LearnedDir + "/flaky/SKILL.md", LearnedDir + "/flaky/old.md"
	learn := func() *Mutation {
		m := &Mutation{By: "test", Why: "learn"}
		m.PutFile(skill, "", []byte("learned\n"))
		m.PutFile(gone, "", []byte("learned too\n"))
		return m
	}
	forget := func(t *testing.T, w *Workspace) *Mutation {
		t.Helper()
		is, err := w.Digest(gone)
		if err != nil {
			t.Fatal(err)
		}
		m := &Mutation{By: "test", Why: "forget"}
		m.RemoveFile(gone, is)
		return m
	}
	for name, c := range map[string]struct {
		happens func(t *testing.T, w *Workspace) *Workspace
		want    map[string]string
	}{
		"edited just before the commit": {func(t *testing.T, w *Workspace) *Workspace {
			put(t, w, skill, "a person's\n")
			mustCommit(t, w, learn())
			return w
		}, map[string]string{skill: "a person's\n", gone: "learned too\n"}},
		"edited before the redo": {func(t *testing.T, w *Workspace) *Workspace {
			interrupted(t, w, learn())
			put(t, w, skill, "a person's\n")
			return settle(t, w)
		}, map[string]string{skill: "a person's\n", gone: "learned too\n"}},
		"edited before a power cut": {func(t *testing.T, w *Workspace) *Workspace {
			mustCommit(t, w, learn())
			put(t, w, skill, "a person's\n")
			put(t, w, gone, "\x00\x00\x00") // its bytes were lost
			w = reopen(t, w)
			w.boot = "another"
			if _, err := w.Transact(t.Context(), func(*State) (*Mutation, error) { return nil, nil }); err != nil {
				t.Fatal(err)
			}
			return w
		}, map[string]string{skill: "a person's\n", gone: "learned too\n"}},
		"edited before it goes": {func(t *testing.T, w *Workspace) *Workspace {
			mustCommit(t, w, learn())
			m := forget(t, w)
			put(t, w, gone, "a person's\n")
			mustCommit(t, w, m)
			return w
		}, map[string]string{skill: "learned\n", gone: "a person's\n"}},
		"not edited": {func(t *testing.T, w *Workspace) *Workspace {
			mustCommit(t, w, learn())
			mustCommit(t, w, forget(t, w))
			return w
		}, map[string]string{skill: "learned\n", gone: "<absent>"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.happens(t, newWorkspace(t))
			for p, want := range c.want {
				if got := read(t, w, p); got != want {
					t.Errorf("%s: %q, want %q", p, got, want)
				}
			}
			if found := w.Strangers(); len(found) != 0 {
				t.Errorf("strangers: %+v", found)
			}
			if found, err := w.Verify(t.Context()); err != nil || len(found) > 0 {
				t.Errorf("verify: %+v, %v", found, err)
			}
		})
	}
}
