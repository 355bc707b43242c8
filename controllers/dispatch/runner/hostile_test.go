package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// An agent that is held to the project can put a link where its run's own folder was. Nothing is made, and above all
// nothing removed, where it leads.
func TestALinkInPlaceOfTheAgentsFolder(t *testing.T) {
	for _, what := range []string{"claude", ""} { // the folder itself, or the one that it is in
		b := newClaude(t, say(claudeInit, claudeAnswer, claudeDone))
		users := filepath.Join(b.project, "home", ".claude")
		target, link := users, filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, what)
		if what == "" {
			target = filepath.Join(b.project, "home", "all")
			if err := os.MkdirAll(target, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(users, filepath.Join(target, "claude")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Clean(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Clean(link)); err != nil {
			t.Fatal(err)
		}
		b.want(b.run(), schema.ExitCompleted, "", "DONE")
		if got := b.home(filepath.Join(".claude", "CLAUDE.md")); got != "be kind" {
			t.Errorf("the user's settings are %q", got)
		}
		if info, err := os.Lstat(filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude")); err != nil || !info.IsDir() {
			t.Errorf("the run has no folder of its own: %v", err)
		}
	}
}

// Codex keeps its sessions where its tools can write. What they put in a session's place is not waited for.
func TestCodexSessionThatIsNoFile(t *testing.T) {
	b := newCodex(t, `d=$CODEX_HOME/sessions/2026/11/22; mkdir -p $d; mkfifo $d/rollout-2026-11-22T20-18-56-`+codexThread+`.jsonl; `+
		`ln -s /dev/zero $d/rollout-2026-11-22T20-18-57-x.jsonl`, codexStarted, codexTurn, codexDone, codexFinished)
	b.env = append(b.env, "OPENAI_API_KEY="+codexSecret)
	ended := make(chan error, 1)
	cmd := b.command()
	go func() { ended <- cmd.Run() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
		b.want(b.completion(), schema.ExitCompleted, "", "DONE")
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("its supervisor waits for ever")
	}
}

// However much an agent says of its failure, its completion can be read.
func TestALongComplaint(t *testing.T) {
	b := newClaude(t, `printf '%s' '{"type":"result","subtype":"success","is_error":true,"api_error_status":400,"session_id":"5a-1","result":"'; `+
		`head -c 12000000 /dev/zero | tr '\0' '<'; printf '%s\n' '","modelUsage":{}}'; exit 1`)
	c := b.run()
	b.want(c, schema.ExitFailed, schema.FailExit, "")
	if len(c.Detail) > 16<<10 {
		t.Errorf("its detail has %d bytes", len(c.Detail))
	}
}

// Without a place for the slot of a login no agent of the runner can be run: that is no fault of the item.
func TestNoPlaceForTheSlot(t *testing.T) {
	shared := t.TempDir()
	for _, env := range [][]string{{"XDG_CACHE_HOME=" + filepath.Join(os.DevNull, "cache")}, {"XDG_CACHE_HOME=", "HOME="}} {
		b := newEvents(t, `printf '%s\n' '{"say":"### DONE"}'`)
		b.request.Runner.Provider, b.env = shared, env
		c := b.run()
		b.want(c, schema.ExitNotStarted, schema.FailRunnerNotFound, "")
		if !strings.Contains(c.Detail, "XDG_CACHE_HOME") {
			t.Errorf("%v: it does not say what to do: %s", env, c.Detail)
		}
	}
}

// Numbers that no provider gives are not counted.
func TestClaudeTokensThatCannotBe(t *testing.T) {
	for _, n := range []string{"-5", "9223372036854775807", "1e30"} {
		b := newClaude(t, say(claudeInit, claudeAnswer, strings.Replace(claudeDone, `"inputTokens":100`, `"inputTokens":`+n, 1)))
		c := b.run()
		b.want(c, schema.ExitCompleted, "", "DONE")
		if total := c.Tokens.Total(); total < 0 || total > 1<<50 {
			t.Errorf("%s: %d tokens", n, total)
		}
	}
}

// What an agent leaves in its run's own folder for the next one to run programs from is not there any more.
func TestClaudeFindsNothingPlanted(t *testing.T) {
	b := newClaude(t, `ls -A "$CLAUDE_CONFIG_DIR" > "$HOME/found"`+"\n"+say(claudeInit, claudeAnswer, claudeDone))
	own := filepath.Join(filepath.Dir(b.dir), schema.AgentsFolder, "claude")
	for _, name := range []string{"settings.json", ".claude.json", "plugins/installed_plugins.json", "projects/-a/5a-1.jsonl"} {
		b.write(filepath.Join(own, name), "{}")
	}
	b.want(b.run(), schema.ExitCompleted, "", "DONE")
	if got := strings.Fields(b.home("found")); !slices.Equal(got, []string{"CLAUDE.md", "projects"}) {
		t.Errorf("it finds %v", got)
	}
}

// Its supervisor's death does not end an agent: it has its turn until somebody does.
func TestTheTurnOfAnOrphan(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	shared := t.TempDir()
	first := newEvents(t, `mkdir "$SHARED/busy"; sleep 1; rmdir "$SHARED/busy"`)
	second := newEvents(t, `test -d "$SHARED/busy" && touch "$SHARED/trouble"; printf '%s\n' '{"say":"### DONE"}'`)
	for _, b := range []*bench{first, second} {
		b.request.Runner.Provider, b.request.Runner.Env = shared, map[string]string{"SHARED": shared}
	}
	cmd := first.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is at work", func() bool { _, err := os.Stat(filepath.Join(shared, "busy")); return err == nil })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	second.want(second.run(), schema.ExitCompleted, "", "DONE")
	if _, err := os.Stat(filepath.Join(shared, "trouble")); err == nil {
		t.Error("they met")
	}
}
