package runner

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

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
// codex was ended in the middle, and has the model's answer whose tool was ended with it, which events leave out for
// ever.
func (c *codex) spent() *schema.Tokens {
	if c.thread == "" {
		return nil
	}
	if recorded := c.recorded(); recorded != nil {
		c.total = recorded
		c.remember(c.total)
	}
	spent := since(c.total, c.before)
	if spent.Total() == 0 {
		return nil // a session that used nothing more: nothing more was reported
	}
	return spent
}

// recorded is the last that the session's file says of its tokens; nil: nothing.
func (c *codex) recorded() *schema.Tokens {
	name := c.rollout(c.thread)
	if name == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(c.home, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	var last []byte
	_, err = io.Copy(&lines{each: func(line []byte) {
		if bytes.Contains(line, []byte(`"thread_token_usage"`)) {
			last = append(last[:0], line...)
		}
	}}, f)
	var record struct {
		Payload struct {
			Usage *codexUsage `json:"thread_token_usage"`
		}
	}
	if err != nil || json.Unmarshal(last, &record) != nil {
		return nil
	}
	return record.Payload.Usage.tokens()
}

// since is what came to before until there was now; what is unknown of either stays as it is.
func since(now, before *schema.Tokens) *schema.Tokens {
	if now == nil || before == nil {
		return now
	}
	less := func(n, b *int64) *int64 {
		if n == nil || b == nil {
			return n
		}
		d := max(0, *n-*b)
		return &d
	}
	return &schema.Tokens{Input: less(now.Input, before.Input), CachedRead: less(now.CachedRead, before.CachedRead),
		CacheWrite: less(now.CacheWrite, before.CacheWrite), Output: less(now.Output, before.Output), Reasoning: less(now.Reasoning, before.Reasoning)}
}
