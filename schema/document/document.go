// Package document owns the encodings of documents: headed Markdown, front matter, YAML, JSON and CUE
// become one record, checked by its CUE definition, and one canonical form on the way out.
package document

import (
	"time"

	"millrace/schema"
)

// A Registry knows the definitions of all document kinds. It is safe for concurrent use.
type Registry struct{}

// A Parsed file: its valid documents, and what is wrong with the others.
type Parsed struct {
	Docs     []Located
	Diags    schema.Diagnostics
	Unparsed bool // not readable as its encoding at all
}

// A Located document knows where it stood and the digest of its record as written.
type Located struct {
	Doc          *schema.Document
	Line, Column int
	Digest       schema.Digest
}

// NewRegistry makes a registry of the built-in kinds and the families that bring a definition.
func NewRegistry(families map[string]*schema.Family) (*Registry, error) { panic("unwritten") }

// Parse reads a dropped file under the rules of intake/.
func (r *Registry) Parse(path string, data []byte) Parsed { panic("unwritten") }

// ParseStored reads a document of a lifecycle folder.
func (r *Registry) ParseStored(family, path string, data []byte) (*schema.Document, schema.Diagnostics) {
	panic("unwritten")
}

// Render writes the canonical form.
func (r *Registry) Render(d *schema.Document) []byte { panic("unwritten") }

// Admit fills the defaults of admission on a copy.
func (r *Registry) Admit(d *schema.Document, by string, now time.Time) *schema.Document {
	panic("unwritten")
}

// CheckJSON checks JSON against a definition such as "#Item".
func (r *Registry) CheckJSON(definition, path string, data []byte) schema.Diagnostics {
	panic("unwritten")
}
