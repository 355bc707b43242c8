// Package schema owns the vocabulary of Millrace: documents, the frozen plan, requests and
// completions, and the state that the journal folds into. The Go types stand beside the CUE
// definitions that say the same; a test fails when the two drift apart.
//
// This package links no CUE, because the stage supervisor imports it and must stay small. What needs
// CUE lives below it: schema/document (encodings, checking) and schema/compile (the plan compiler).
package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Version is the schema epoch written into every record that outlives a process.
const Version = 1

// Limits of every document, from wherever it comes.
const (
	MaxFile  = 1 << 20  // bytes of one dropped file
	MaxText  = 64 << 10 // bytes of one text field
	MaxItems = 1000     // entries of one list
)

// ValidID reports whether id may name an item: 1 to 128 letters, digits, ".", "_" and "-", of which the
// first is a letter or a digit. Ids are file names, so ".." is refused as well.
func ValidID(id string) bool {
	if id == "" || len(id) > 128 || strings.Contains(id, "..") {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// Slug turns free text into the nearest valid id, or "" when nothing of it can be kept.
func Slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 100 {
			break
		}
	}
	return strings.Trim(b.String(), "-_")
}

// Digest is "sha256:" and the lower-case hex of the bytes it names; "" stands for absence.
type Digest string

// DigestOf names the given bytes.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Short is the form shown to people: the first twelve hex digits.
func (d Digest) Short() string {
	s := strings.TrimPrefix(string(d), "sha256:")
	return s[:min(12, len(s))]
}

// Hex is the digest without its prefix: a file name.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// A Key names one item: ids are unique within their family.
type Key struct{ Family, ID string }

func (k Key) String() string {
	if k == (Key{}) {
		return ""
	}
	return k.Family + "/" + k.ID
}

// MarshalText writes family/id.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads family/id; empty text is the zero Key.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = Key{}
		return nil
	}
	family, id, ok := strings.Cut(string(text), "/")
	if !ok || family == "" || id == "" {
		return fmt.Errorf("parse key %q: want family/id", text)
	}
	*k = Key{family, id}
	return nil
}

// Duration is a time.Duration written as "20m" in JSON and CUE.
type Duration time.Duration

// MarshalText writes the shortest form that parses back: "20m", not "20m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("parse duration %q: want a number and a unit, like 20m", text)
	}
	*d = Duration(v)
	return nil
}
