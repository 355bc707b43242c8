package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"millrace/schema"
)

// A seat is where an agent keeps its login and what it remembers. Agents that run at the same time corrupt a folder
// that they share: with a key in the environment each run has one of its own, kept for going on with a session; with a
// stored login there is only the user's, and one agent at a time in it.
type seat struct {
	dir    string
	key    string // variable that holds the key; "": a stored login, or none
	stored bool   // the folder is the user's, and has a login
}

// sit finds the seat of an agent whose environment is env.
func (j *job) sit(a *schema.Adapter, env []string) seat {
	own := seatOf(a, &j.request.Runner, env)
	if own.key != "" {
		own.dir = j.ownSeat()
	}
	return own
}

// ownSeat is the folder that the agent of a runner has in this run, and in no other.
func (j *job) ownSeat() string {
	return filepath.Join(filepath.Dir(j.dir), schema.AgentsFolder, j.request.Runner.Name)
}

// seatOf is the seat before any request: dir is the user's folder.
func seatOf(a *schema.Adapter, r *schema.Runner, env []string) seat {
	s := seat{dir: lookup(env, a.Folder)}
	if s.dir == "" {
		s.dir = filepath.Join(lookup(env, "HOME"), a.Home)
	}
	if a.Login != "" {
		s.stored = loggedIn(filepath.Join(s.dir, a.Login))
	}
	keys := a.Keys
	if s.stored {
		keys = keys[:a.OverLogin]
	}
	if names := present(env, r.KeyEnv, keys...); len(names) > 0 {
		s.key, s.stored = names[0], false
	}
	return s
}

// present are the variables of a key, the runner's own first, that have a value.
func present(env []string, own string, keys ...string) []string {
	return slices.DeleteFunc(append([]string{own}, keys...), func(name string) bool { return name == "" || lookup(env, name) == "" })
}

// loggedIn reports whether a file holds a login. Some agents leave one that holds nothing.
func loggedIn(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if info.Size() > 8 {
		return true
	}
	text, err := os.ReadFile(path)
	return err != nil || strings.TrimSpace(string(text)) != "{}"
}

// make makes a run's own folder, with links to the user's settings of these names: what they hold may be secret, and
// is not copied. An agent that is held to the project can write there: what it put in their place is removed, since
// settings may name programs that the next agent runs without being held to anything.
func (s seat) make(user string, settings ...string) error {
	for _, dir := range []string{filepath.Dir(s.dir), s.dir} { // a link would have us remove what is elsewhere
		if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
			if err := os.Rename(dir, dir+".foreign"); err != nil {
				return fmt.Errorf("make the agent's folder: %w", err)
			}
		}
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the agent's folder: %w", err)
	}
	for _, name := range settings {
		from, to := filepath.Join(user, name), filepath.Join(s.dir, name)
		linked := func() bool {
			target, err := os.Readlink(to)
			return err == nil && target == from
		}
		if linked() {
			continue
		}
		err := os.RemoveAll(to)
		if _, statErr := os.Stat(from); err == nil && statErr == nil {
			err = os.Symlink(from, to)
		}
		if err != nil && !linked() { // another supervisor may have been quicker
			return fmt.Errorf("make the agent's folder: %w", err)
		}
	}
	return nil
}

// lookup is the value of a variable; the last entry counts.
func lookup(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// slotPoll is how often a taken slot is asked for: stages take minutes.
const slotPoll = 250 * time.Millisecond

// enter waits until no other agent of this user and machine uses the folder, whichever workspace it works for. The
// limits of the stage do not run meanwhile.
func (s *supervisor) enter(ctx context.Context, folder string) (leave func(), err error) {
	if folder == "" {
		return func() {}, nil
	}
	f, err := slot(folder)
	if err != nil { // it will be the same for every item
		return nil, refuse(schema.FailRunnerNotFound, "runner %q: cannot note that the login stored in %s is in use: %v; start the daemon with an XDG_CACHE_HOME that can be written",
			s.request.Runner.Name, folder, err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			s.turn = f
			leave := func() {
				_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // whoever else has the file open
				f.Close()
			}
			return leave, s.remember(func(m *schema.Session) { m.Waiting = "" })
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("take the slot of %s: %w", folder, err)
		}
		err = s.remember(func(m *schema.Session) {
			m.Waiting = "another agent uses the login stored in " + folder + ", which only one can at a time"
		})
		if err != nil {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, refuse(schema.FailCancelled, "cancelled while it waited for the login stored in %s", folder)
		case <-time.After(slotPoll):
		}
	}
}

// slot opens the file whose lock is the turn to use a folder.
func slot(folder string) (*os.File, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "millrace", "slots", fmt.Sprintf("%x.lock", sha256.Sum256([]byte(filepath.Clean(folder)))))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}
