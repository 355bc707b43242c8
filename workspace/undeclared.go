package workspace

import (
	"fmt"

	"millrace/schema"
)

// undeclared is why a key that is no item is none.
func (v *View) undeclared(k schema.Key) []schema.Waiting {
	if v.Hold[k] {
		return []schema.Waiting{{Reason: WaitHeld, Stalled: true, ClearedBy: "millrace queue admit " + k.ID,
			Message: "declared before this workspace began, so it is held"}}
	}
	if w, ok := v.Declined[k]; ok {
		return []schema.Waiting{w}
	}
	if v.Intake == nil {
		return []schema.Waiting{unknown(k)}
	}
	subject := fmt.Sprintf("%s %q", k.Family, k.ID)
	for _, path := range sorted(v.Intake.Files) {
		f := v.Intake.Files[path]
		for _, d := range f.Diags {
			if d.Severity != schema.Warning && d.Subject == subject {
				return []schema.Waiting{{Reason: WaitRejected, Stalled: true, Since: f.Changed,
					Message: join(d.Field, d.Message), ClearedBy: "fix " + d.Place()}}
			}
		}
	}
	if found := v.Intake.ByKey[k]; len(found) == 1 {
		w := schema.Waiting{Reason: WaitSettling, Message: "declared in " + found[0].Path + ", not admitted yet",
			ClearedBy: "the daemon, in a moment"}
		if v.NoDaemon {
			w.Reason, w.ClearedBy, w.Stalled = WaitNoDaemon, "millrace run daemon", true
		}
		return []schema.Waiting{w}
	}
	return []schema.Waiting{unknown(k)}
}

func unknown(k schema.Key) schema.Waiting {
	return schema.Waiting{Reason: WaitUnknown, Stalled: true, Message: "no " + k.Family + " of that id is declared",
		ClearedBy: "millrace intake ls shows what is"}
}
