package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"

	"millrace/schema"
)

// A memory keeps session.json what the agent last said of its session.
type memory struct {
	mu   sync.Mutex
	said *schema.Session
}

func (m *memory) last() *schema.Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.said == nil || m.said.ID == "" {
		return nil
	}
	s := *m.said
	s.Waiting, s.Tokens = "", s.Tokens.Credible()
	return &s
}

// remember changes what is known of the agent's session and writes it down for whoever finds this request lost, or
// wants to know what it waits for.
func (j *job) remember(change func(*schema.Session)) error {
	j.memory.mu.Lock()
	defer j.memory.mu.Unlock()
	s := schema.Session{Request: j.request.ID}
	if j.memory.said != nil {
		s = *j.memory.said
	}
	if change(&s); j.memory.said != nil && reflect.DeepEqual(s, *j.memory.said) {
		return nil
	}
	j.memory.said = &s
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	return j.own(schema.SessionFile, append(j.keys.bytes(data), '\n'))
}

// own writes a file of the request folder that only the supervisor writes, whole or not at all: an agent may have put
// a link, a pipe or a folder in its place.
func (j *job) own(name string, data []byte) error {
	temp, final := filepath.Join(j.dir, "."+name+".tmp"), filepath.Join(j.dir, name)
	for _, path := range []string{temp, final} {
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			if err := os.Rename(path, path+".foreign"); err != nil {
				return fmt.Errorf("write %s: %w", name, err)
			}
		}
	}
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temp, final); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
