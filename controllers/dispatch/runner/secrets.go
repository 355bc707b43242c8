package runner

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strings"

	"millrace/schema"
)

// secrets are the keys that agents are given by the environment, the longest first: one may begin with another. What agents, their tools and their
// providers say back is written down without them. That holds for what the supervisor writes; files of the agent's own are
// its own.
type secrets []secret

type secret struct{ value, name string }

// keyLength is what a key has at least: shorter ones would be found in any text.
const keyLength = 8

// secrets finds the keys in the environment of the request's agent and of its checks.
func (j *job) secrets() (found secrets) {
	r, env := j.request.Runner, j.environment()
	var keys []string
	if a := schema.AdapterOf(r.Adapter); a != nil {
		keys = a.Keys
	}
	for _, name := range present(env, r.KeyEnv, keys...) {
		if value := lookup(env, name); len(value) >= keyLength {
			found = append(found, secret{value, name})
		}
	}
	slices.SortStableFunc(found, func(a, b secret) int { return cmp.Compare(len(b.value), len(a.value)) })
	return found
}

// redact puts names in the place of keys.
func (s secrets) redact(text string) string { return string(s.bytes([]byte(text))) }

func (s secrets) bytes(text []byte) []byte {
	for _, key := range s {
		if bytes.Contains(text, []byte(key.value)) {
			text = bytes.ReplaceAll(text, []byte(key.value), []byte("<"+key.name+">"))
		}
	}
	return text
}

// over is a writer to w that redacts a stream; close it, and what it held back is written, too.
func (s secrets) over(w io.Writer) *redactor { return &redactor{keys: s, to: w} }

// A redactor redacts a stream, however it is cut.
type redactor struct {
	keys secrets
	to   io.Writer
	held []byte // the beginning of what may become a key
}

// Write fails when the writer behind it does.
func (r *redactor) Write(p []byte) (int, error) {
	if len(r.keys) == 0 {
		return r.to.Write(p)
	}
	text := r.keys.bytes(append(r.held, p...))
	hold := 0
	for _, key := range r.keys {
		for n := min(len(key.value)-1, len(text)); n > hold; n-- {
			if strings.HasPrefix(key.value, string(text[len(text)-n:])) {
				hold = n
			}
		}
	}
	said := text[:len(text)-hold]
	r.held = bytes.Clone(text[len(said):])
	_, err := r.to.Write(said)
	return len(p), err
}

// Close writes what was held back; the writer behind it stays open.
func (r *redactor) Close() error {
	_, err := r.to.Write(r.held)
	r.held = nil
	return err
}
