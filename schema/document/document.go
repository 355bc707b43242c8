// Package document owns the encodings of documents: headed Markdown, front matter, YAML, JSON and CUE
// become one record, checked by its CUE definition, and one canonical form on the way out.
//
// Every encoding is first read into a tree of nodes that know their places. The tree is checked under
// the shape of its definition, which says all that is wrong in words a person can act on; what passes
// is judged by CUE, whose word is final.
package document

import (
	"path"
	"strings"

	"millrace/schema"
)

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

// Parse reads a dropped file under the rules of intake/. The kind of a document is the field "kind",
// else that of its id field, else what the first folder below intake/ implies.
func (r *Registry) Parse(file string, data []byte) Parsed {
	r.defined()
	recs, fault := r.records(file, data, schema.MaxFile)
	if fault != nil {
		return Parsed{Diags: fault, Unparsed: true}
	}
	var p Parsed
	for _, rec := range recs {
		c := &checker{path: file}
		if k := r.resolve(c, rec, r.implied(file)); k != nil {
			doc := r.document(c, rec, k, true)
			if doc != nil {
				if why := Inadmissible(doc); why != "" {
					c.add(rec.place("status_hint"), "status_hint", why, "leave it out; 'millrace queue admit --done' records what ended elsewhere")
				}
			}
			if doc != nil && !c.diags.HasErrors() {
				p.Docs = append(p.Docs, Located{doc, rec.at.line, rec.at.column, doc.Digest()})
			}
		}
		p.Diags = append(p.Diags, c.sorted()...)
	}
	return p
}

// ParseStored reads the document of a lifecycle folder of the family. Labels that are no fields are
// kept in the body with a warning: other versions of Millrace may have written them.
func (r *Registry) ParseStored(family, file string, data []byte) (*schema.Document, schema.Diagnostics) {
	r.defined()
	c := &checker{path: file}
	recs, diags := r.records(file, data, 2*schema.MaxFile) // canonical form may be longer than what was dropped
	if diags != nil {
		return nil, diags
	}
	if len(recs) > 1 {
		c.subject = family
		c.add(recs[1].at, "", "is a second document", "a file of this folder holds one document")
		return nil, c.diags
	}
	k := r.resolve(c, recs[0], family)
	if k != nil && k.name != family {
		c.add(recs[0].at, "kind", "is a "+k.name+" in a folder for "+family, "move the file to where its kind belongs")
		k = nil
	}
	if k == nil {
		return nil, c.diags
	}
	doc := r.document(c, recs[0], k, false)
	if c.diags.HasErrors() {
		return nil, c.sorted()
	}
	return doc, c.sorted()
}

// Inadmissible says why a valid document is never admitted, or "".
func Inadmissible(d *schema.Document) string {
	if d.Fields["status_hint"] == "done" {
		return "work that is already done is not admitted"
	}
	return ""
}

// records reads a file, translating what makes it unreadable.
func (r *Registry) records(file string, data []byte, limit int) ([]*record, schema.Diagnostics) {
	src, f := source(data, limit)
	var recs []*record
	if f == nil {
		recs, f = read(file, src)
	}
	if f == nil {
		return recs, nil
	}
	c := &checker{path: file}
	c.add(f.at, "", f.message, f.hint)
	return nil, c.diags
}

// implied is the kind that the first folder below intake/, or below a stage's outbox/, implies, or "".
func (r *Registry) implied(file string) string {
	parts := strings.Split(path.Clean(file), "/")
	for i, p := range parts {
		if (p == "intake" || p == "outbox") && i+2 < len(parts) {
			if kind, ok := r.IntakeFolder(parts[i+1]); ok {
				return kind
			}
		}
	}
	return ""
}

// resolve finds the kind of a record; nil: it was refused.
func (r *Registry) resolve(c *checker, rec *record, implied string) *kind {
	names := rec.names()
	if at, twice := rec.twice("kind"); twice {
		c.add(at, "kind", "is there twice", "keep one of them")
		return nil
	}
	if given := names["kind"]; given != nil && given.kind != isNull {
		name := strings.TrimSpace(given.text)
		if k := r.kinds[name]; given.kind == isText && k != nil {
			return k
		}
		hint := "kinds are " + strings.Join(r.dropped(), ", ")
		if near := schema.Nearest(name, r.dropped(), 3); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
		message := shown(given) + " is not a kind"
		if r.artifacts[name] {
			message = shown(given) + " is what a stage writes, not a declaration"
		}
		c.add(given.at, "kind", message, hint)
		return nil
	}
	if k := r.kinds[implied]; k != nil && k.claims(names) {
		return k
	}
	for _, name := range r.order {
		if k := r.kinds[name]; k.id != "" && names[k.id] != nil && names[k.id].kind != isNull {
			return k
		}
	}
	if k := r.kinds[implied]; k != nil {
		return k
	}
	kinds := r.dropped()
	c.add(rec.at, "kind", "is missing: nothing says what this document is",
		"add kind: "+kinds[0]+" (or "+strings.Join(kinds[1:], ", ")+"), or put it into a folder like intake/"+r.kinds[kinds[0]].intake[0]+"/")
	return nil
}

// claims reports whether a record in the kind's folder is of the kind by its fields: it has the id
// field, or every field is one of the kind, so that ids of other kinds among them are lineage.
func (k *kind) claims(names map[string]*node) bool {
	if k.id != "" && names[k.id] != nil {
		return true
	}
	for name := range names {
		if k.shape.field(name) == nil {
			return false
		}
	}
	return len(names) > 0
}

// document makes the record of a known kind into a document; nil: it was refused.
func (r *Registry) document(c *checker, rec *record, k *kind, strict bool) *schema.Document {
	c.subject = k.name
	if rec.headed != nil {
		if id := rec.headed.names()[k.id]; id != nil && id.kind == isText {
			c.subject = subject(k, id)
		}
		c.labels(rec, k.shape, k.name == schema.KindIdea, strict)
	}
	rec.fields = rec.fields.without("kind")
	c.title(rec, k)
	c.identity(rec, k)
	fields, ok := c.value(rec.fields, k.shape, "", false)
	body := tidyBody(rec.body)
	if object, is := fields.(map[string]any); is {
		r.judge(c, k.value, k.shape, rec.fields, object)
	}
	c.body(rec, k, body)
	if !ok || c.diags.HasErrors() {
		return nil
	}
	doc := &schema.Document{Kind: k.name, ID: k.name, Fields: fields.(map[string]any), Body: body}
	if k.id != "" { // else there is one per workspace
		doc.ID, _ = doc.Fields[k.id].(string)
	}
	c.itself(rec, doc)
	if c.diags.HasErrors() {
		return nil
	}
	return doc
}

// title takes the H1 for the title, and an idea's file name when there is neither.
func (c *checker) title(rec *record, k *kind) {
	if k.shape.field("title") == nil {
		return
	}
	given := rec.fields.field("title")
	missing := given == nil || given.kind == isNull
	if rec.heading != nil && !missing && given.kind == isText && tidy(given.text) != rec.heading.text {
		c.add(rec.heading.at, "title", "the heading "+shown(rec.heading)+" is not the title "+shown(given),
			"make them equal, or remove one of them")
	}
	title := rec.heading
	if title == nil && missing && k.name == schema.KindIdea && strings.TrimSpace(rec.body) != "" {
		title = &node{at: rec.at, kind: isText, text: strings.NewReplacer("-", " ", "_", " ").Replace(stem(c.path))}
	}
	if missing && title != nil {
		rec.fields = rec.fields.without("title")
		rec.fields.fields = append(rec.fields.fields, member{title.at, "title", title})
	}
}

// identity fills an absent id from the file name, and names the subject of all further diagnostics.
func (c *checker) identity(rec *record, k *kind) {
	f := k.shape.field(k.id)
	if f == nil {
		return
	}
	given := rec.fields.field(k.id)
	if given == nil || given.kind == isNull || given.kind == isText && strings.TrimSpace(given.text) == "" {
		slug := schema.Slug(stem(c.path))
		if !rec.alone {
			c.named = k.id
		}
		if !rec.alone || slug == "" || !f.fits(slug) {
			return
		}
		given = &node{at: rec.at, kind: isText, text: slug}
		rec.fields = rec.fields.without(k.id)
		rec.fields.fields = append(rec.fields.fields, member{rec.at, k.id, given})
	}
	if given.kind == isText {
		c.subject = subject(k, given)
	}
}

func subject(k *kind, id *node) string {
	return k.name + " " + shown(&node{kind: isText, text: tidy(id.text)})
}

func stem(file string) string {
	base := path.Base(file)
	return strings.TrimSuffix(base, path.Ext(base))
}

// body checks the free text. An idea is nothing without any.
func (c *checker) body(rec *record, k *kind, body string) {
	if strings.ContainsRune(body, 0) {
		c.add(rec.bodyAt, "body", "holds a zero byte", "remove it")
	}
	if k.name == schema.KindIdea && body == "" && rec.fields.field("title") == nil {
		c.diags = nil
		c.add(rec.at, "", "says nothing", "an idea needs a heading or some text")
	}
}

// itself refuses a document that waits for itself.
func (c *checker) itself(rec *record, d *schema.Document) {
	for _, name := range []string{"depends_on", "blocks"} {
		list, _ := d.Fields[name].([]any)
		for i, id := range list {
			if id == d.ID {
				c.add(rec.place(name), name+index(i), shown(&node{kind: isText, text: d.ID})+" is the document itself", "remove it")
			}
		}
	}
}

// place of a field of the record.
func (rec *record) place(name string) place {
	if rec.fields != nil {
		if v := rec.fields.field(name); v != nil {
			return v.at
		}
	}
	return rec.at
}
