package reqdir

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
)

const (
	maxSession = 64 << 10 // bytes of session.json
	maxWaiting = 300      // bytes of what a person is told that an agent waits for
)

// session is what the supervisor had written down of the agent's session. It lay where the agent could write, and the
// next agent gets the name as an argument: what would be taken for an option is no name.
func session(dir string, r *schema.Request) (*schema.Session, error) {
	s, _, err := readSession(dir, r.ID)
	if s == nil || s.ID == "" || strings.HasPrefix(s.ID, "-") || schema.OneLine(s.ID, len(s.ID)) != s.ID {
		return nil, err
	}
	s.Waiting = ""
	return s, nil
}

// own are the tokens that a lost request is known to have used: no more than what its agent had told when it was last
// heard of. Who goes on with the session counts from there.
func own(now, given *schema.Session) *schema.Tokens {
	var before *schema.Tokens
	if given != nil && given.ID == now.ID {
		before = given.Tokens
	}
	return now.Tokens.Since(before)
}

// Waiting is what the agent of a live request waits for, in its supervisor's words, and since when; "" when it does
// not, or nobody knows.
func Waiting(dir, request string) (what string, since time.Time) {
	s, since, err := readSession(dir, request)
	if s == nil || err != nil {
		return "", time.Time{}
	}
	return schema.OneLine(s.Waiting, maxWaiting), since.UTC()
}

// readSession reads session.json, and when it was written; nil when there is none that can be used.
func readSession(dir, request string) (*schema.Session, time.Time, error) {
	path := filepath.Join(dir, schema.SessionFile)
	info, err := os.Lstat(path)
	if err != nil || info.Size() > maxSession {
		return nil, time.Time{}, nil //nolint:nilerr // not there, or nothing of ours
	}
	var s schema.Session
	if err := readJSON(path, &s); err != nil {
		if useless(err) {
			return nil, time.Time{}, nil
		}
		return nil, time.Time{}, err
	}
	if s.Request != request {
		return nil, time.Time{}, nil
	}
	return &s, info.ModTime(), nil
}
