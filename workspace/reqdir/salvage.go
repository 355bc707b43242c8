package reqdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"millrace/schema"
)

// Salvage says what the files of a lost request still tell: ask only when it was started, is not
// alive, and has neither completion nor strays. A finished agent is not paid twice: Claim holds the
// legal outcome of an unfinished completion, of terminal_result.json or of the transcript, if there is
// exactly one. An agent that was being ended (cancel, timeout) claims nothing, and Exit says so. An
// agent can put anything in the place of these files: what cannot be used tells nothing, which is no
// error.
func Salvage(dir string) (*schema.Completion, error) {
	r, err := ReadRequest(dir)
	if useless(err) {
		return &schema.Completion{SchemaVersion: schema.Version,
			Request: filepath.Base(dir), Run: filepath.Base(filepath.Dir(dir)),
			Exit: schema.ExitFailed, Failure: schema.FailSupervisorLost, Ended: lastSign(dir),
			Detail: fmt.Sprintf("its supervisor is gone, and its request folder was tampered with: %v", err)}, nil
	}
	if err != nil {
		return nil, err
	}
	if c, err := readCompletion(filepath.Join(dir, unfinished)); err == nil && c.Request == r.ID {
		if c.Exit == schema.ExitCompleted && c.Claim != nil {
			c.Exit, c.Failure, c.Detail = schema.ExitFailed, schema.FailSupervisorLost, lostDetail
		}
		return c, nil // all was over: only the last rename is missing
	}
	c := &schema.Completion{SchemaVersion: schema.Version, Request: r.ID, Run: r.Run,
		Exit: schema.ExitFailed, Failure: schema.FailSupervisorLost, Detail: lostDetail,
		Started: StartedBy(dir).At, Ended: lastSign(dir)}
	exit, err := wasEnding(dir)
	if err != nil {
		return nil, err
	}
	if c.Session, err = session(dir, r); err != nil {
		return nil, err
	}
	if c.Session != nil {
		c.Tokens = own(c.Session, r.Session).Credible()
		c.Session.Tokens = c.Session.Tokens.Credible()
	}
	if exit != "" {
		c.Exit = exit
		c.Failure, c.Detail = endingClass[exit], "the agent was being ended when its supervisor was lost"
		return c, nil
	}
	if r.Held != nil {
		return c, nil // no agent was started, so nothing here is the word of one
	}
	c.Claim, err = lastWords(dir, r)
	if err != nil {
		return nil, err
	}
	return c, List(dir, r, c)
}

// useless reports whether a file is missing, or there but nothing that can be read.
func useless(err error) bool {
	var broken *BrokenError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &broken)
}

const lostDetail = "the supervisor was lost before it could complete the request"

// endingClass is the failure class of each reason to end an agent.
var endingClass = map[string]string{
	schema.ExitCancelled: schema.FailCancelled,
	schema.ExitTimeout:   schema.FailTimeout,
	schema.ExitStalled:   schema.FailStalled,
	schema.ExitFailed:    schema.FailSupervisorLost, // lost, and then ended by recovery
}

// wasEnding is the exit kind that an agent was being ended as, or "". A wanted cancel outweighs that
// the request was lost meanwhile.
func wasEnding(dir string) (string, error) {
	data, err := readRegular(filepath.Join(dir, endingFile), 64)
	if err != nil && !useless(err) {
		return "", err
	}
	exit := strings.TrimSpace(string(data))
	if err == nil && endingClass[exit] == "" {
		return schema.ExitCancelled, nil // cut off while it was written
	}
	if exit == "" || exit == schema.ExitFailed {
		cancelled, err := Cancelled(dir)
		if cancelled || err != nil {
			return schema.ExitCancelled, err
		}
	}
	return exit, nil
}

// lastWords looks for a claim where a supervisor would: in terminal_result.json, and in the final message
// if the adapter told it apart, else in what the agent printed.
func lastWords(dir string, r *schema.Request) (*schema.Claim, error) {
	terminal, _ := ReadTerminal(dir)
	source := schema.FinalFile
	f, err := openRegular(filepath.Join(dir, source))
	if errors.Is(err, fs.ErrNotExist) {
		source = schema.StdoutFile
		f, err = openRegular(filepath.Join(dir, source))
	}
	var m schema.Markers
	switch {
	case err == nil:
		defer f.Close()
		if _, err := io.Copy(&m, f); err != nil {
			return nil, err
		}
	case !useless(err):
		return nil, err
	}
	claim, _, _ := schema.DetectClaim(r.Stage, r.Outcomes, r.ID, terminal, m.Text())
	if claim != nil && claim.Source == schema.FinalFile {
		claim.Source = source
	}
	return claim, nil
}

// lastSign is when the request's folder was last written to: the best guess of when it ended.
func lastSign(dir string) time.Time {
	var last time.Time
	for _, name := range []string{"", schema.StartedFile, schema.StdoutFile, schema.StderrFile} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last.UTC()
}
