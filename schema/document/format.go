package document

import "millrace/schema"

// Format brings a file into canonical form: nil with errors when it is not valid. A file that holds
// several documents, or is written in another encoding, has one canonical form for each document.
func (r *Registry) Format(file string, data []byte) ([]Formatted, schema.Diagnostics) {
	r.defined()
	p := r.Parse(file, data)
	if p.Diags.HasErrors() {
		return nil, p.Diags
	}
	var out []Formatted
	for _, d := range p.Docs {
		name := d.Doc.ID
		if !schema.ValidID(name) {
			name = schema.Slug(name)
		}
		out = append(out, Formatted{Name: name + r.kinds[d.Doc.Kind].extension, Data: r.Render(d.Doc)})
	}
	return out, p.Diags
}

// Formatted is the canonical form of one document, and the file name that goes with it.
type Formatted struct {
	Name string
	Data []byte
}
