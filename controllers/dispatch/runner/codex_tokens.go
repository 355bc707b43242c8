package runner

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// codexUsage is what codex says of tokens: of a session, all that it has used so far.
type codexUsage struct {
	Input      *int64 `json:"input_tokens"` // cached and written to the cache included
	Cached     *int64 `json:"cached_input_tokens"`
	CacheWrite *int64 `json:"cache_write_input_tokens"`
	Output     *int64 `json:"output_tokens"`
	Reasoning  *int64 `json:"reasoning_output_tokens"`
}

// tokens are nil when it says nothing of them. A provider that reports none makes all of it zero.
func (u *codexUsage) tokens() *schema.Tokens {
	if u == nil || u.Input == nil || *u.Input == 0 && (u.Output == nil || *u.Output == 0) {
		return nil
	}
	input := *u.Input
	for _, part := range []*int64{u.Cached, u.CacheWrite} {
		if part != nil {
			input -= *part
		}
	}
	input = max(0, input)
	return &schema.Tokens{Input: &input, CachedRead: u.Cached, CacheWrite: u.CacheWrite, Output: u.Output, Reasoning: u.Reasoning}
}

// spent is what this run of codex has used of tokens. The record that it keeps of the session counts: it is there when
// codex was ended in the middle, and has what events leave out for ever: the answer whose tool was ended with codex, and
// those that went to agents it started.
func (c *codex) spent() *schema.Tokens {
	if c.thread == "" {
		return nil
	}
	if recorded, _ := c.recorded(c.thread); recorded != nil {
		c.total = recorded
		c.remember(c.total)
	}
	spent := c.total.Since(c.before)
	if spent.Total() == 0 {
		return nil // a session that used nothing more: nothing more was reported
	}
	return spent
}

// lately is when the model answered last. Only the record tells, while a long command runs that the model looks after, or
// agents that codex started work.
func (c *codex) lately() time.Time {
	s := c.job.memory.last()
	if s == nil {
		return time.Time{}
	}
	_, last := c.recorded(s.ID)
	return last
}

// rolloutCap is how much of a session's file is read. Months of work are less.
const rolloutCap = 1 << 30

// recorded is what the files of a session say of its tokens, and when they said it last; nil: nothing. Every agent of a
// session has a file, and none is older than the first.
func (c *codex) recorded(thread string) (*schema.Tokens, time.Time) {
	first := c.rollout(thread)
	if first == "" {
		return nil, time.Time{}
	}
	sum := codexSum{thread: thread}
	files, _ := fs.Glob(os.DirFS(c.home), "sessions/*/*/*/rollout-*.jsonl") // the pattern is a good one
	for _, name := range files {
		if name < first {
			continue
		}
		path := filepath.Join(c.home, name)
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // its tools may have put anything there
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			_, _ = io.Copy(&lines{each: func(line []byte) { sum.add(name, line) }}, io.LimitReader(f, rolloutCap)) // what can be read counts
		}
		f.Close()
	}
	return sum.tokens, sum.last
}

// A codexSum adds up the model's answers in a session.
type codexSum struct {
	thread string
	tokens *schema.Tokens
	last   time.Time
}

// add reads one line of one file. A file that began with what another agent knew has that one's answers, too.
func (s *codexSum) add(name string, line []byte) {
	var record struct {
		Timestamp time.Time
		Type      string
		Payload   struct {
			Thread  string `json:"thread_id"`
			Session string `json:"session_id"`
			Usage   *codexUsage
		}
	}
	if !bytes.Contains(line, []byte(`"token_usage_record"`)) || json.Unmarshal(line, &record) != nil || record.Type != "token_usage_record" {
		return
	}
	if p := record.Payload; p.Usage != nil && p.Session == s.thread && strings.HasSuffix(name, "-"+p.Thread+".jsonl") {
		s.tokens = s.tokens.Plus(p.Usage.tokens())
		if record.Timestamp.After(s.last) {
			s.last = record.Timestamp
		}
	}
}
