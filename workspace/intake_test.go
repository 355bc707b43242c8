package workspace

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"millrace/schema"
)

func yamlTask(id string) string {
	return fmt.Sprintf("kind: task\ntask_id: %s\ntitle: T\nacceptance: [it works]\n", id)
}

func TestFileThatDoesNotParseKeepsItsItems(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/ab.yaml", yamlTask("a")+"---\n"+yamlTask("b"))
	x.until("both", func(v *View) bool { return isDeclared("a")(v) && isDeclared("b")(v) })
	x.admitAll()
	for what, text := range map[string]string{
		"unparsable":        "kind: [task\n",
		"one of two broken": yamlTask("a") + "---\nkind: task\ntask_id: b\n",
		"empty":             "",
		"binary":            "\x00\xff",
	} {
		x.drop("intake/ab.yaml", text)
		x.until(what, func(v *View) bool { // the rejection of these bytes, not of those before
			f := v.Intake.Files["intake/ab.yaml"]
			return rejected("intake/ab.yaml")(v) && f.Digest == schema.DigestOf([]byte(text))
		})
		x.round(func(v *View) *Mutation {
			if len(v.Intake.Unreconciled) > 0 {
				t.Errorf("%s: unreconciled %v", what, v.Intake.Unreconciled)
			}
			return nil
		})
		if what == "unparsable" {
			x.round(func(v *View) *Mutation {
				if f := v.Intake.Files["intake/ab.yaml"]; !f.Unparsed || !f.Keeps(taskKey("a")) {
					t.Errorf("%+v", f)
				}
				if !slices.Equal(v.DeclaredIn("intake/ab.yaml"), []schema.Key{taskKey("a"), taskKey("b")}) {
					t.Errorf("items of the file: %v", v.DeclaredIn("intake/ab.yaml"))
				}
				return nil
			})
		}
	}
	// one document is really taken out, the other is invalid: only the first is missing
	x.drop("intake/ab.yaml", "kind: task\ntask_id: b\n")
	x.until("a's absence", func(v *View) bool { return slices.Equal(v.Intake.Unreconciled, []schema.Key{taskKey("a")}) })
	x.drop("intake/ab.yaml", yamlTask("a")+"---\n"+yamlTask("b"))
	x.until("peace", func(v *View) bool { return len(v.Intake.Unreconciled) == 0 && len(v.Intake.ByKey) == 2 })
}

func TestDeclarationsThatMoveOrDouble(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("a", isDeclared("a"))
	x.admitAll()
	x.settle()
	for _, to := range []string{"intake/b.md", "intake/a.md"} {
		from := "intake/a.md"
		if to == from {
			from = "intake/b.md"
		}
		x.rename(from, to)
		x.until("the move", func(v *View) bool {
			if n := len(v.Intake.ByKey[taskKey("a")]); n != 1 {
				t.Errorf("a moved file declares %d times", n)
			}
			return v.Intake.Files[from] == nil && v.Intake.ByKey[taskKey("a")][0].Path == to
		})
	}
	x.write("intake/copy.md", taskDoc("a"))
	x.until("the double", func(v *View) bool {
		d := v.Intake.ByKey[taskKey("a")]
		return len(d) == 2 && d[0].Path == "intake/a.md" && slices.Contains(v.Intake.Unreconciled, taskKey("a"))
	})
	x.remove("intake/copy.md")
	x.until("one again", func(v *View) bool { return isDeclared("a")(v) && len(v.Intake.Unreconciled) == 0 })
}

func TestValidatedBytesAreNotValidatedAgain(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	for i := range 20 {
		x.drop(fmt.Sprintf("intake/f%d.md", i), taskDoc(fmt.Sprintf("f%d", i)))
	}
	x.until("all", func(v *View) bool { return len(v.Intake.ByKey) == 20 })
	x.settle()
	parses := x.o.intake.parses
	x.drop("intake/f3.md", taskDoc("f3")) // the same bytes in another file
	x.o.scanned = time.Time{}
	x.o.watch.lose()
	x.settle()
	if n := x.o.intake.parses; n != parses || parses != 20 {
		t.Errorf("%d files validated, then %d more", parses, n-parses)
	}
}

func TestEditIsNewAndRevertedEditIsOld(t *testing.T) {
	x := observe(t, ObserveOptions{Watch: true})
	x.settle()
	x.drop("intake/a.md", taskDoc("a"))
	x.until("a", isDeclared("a"))
	x.admitAll()
	var first time.Time
	x.round(func(v *View) *Mutation { first = v.Intake.Files["intake/a.md"].Changed; return nil })
	x.drop("intake/a.md", taskDoc("a")+"\nMore.\n")
	x.until("the edit", func(v *View) bool {
		d := v.Intake.ByKey[taskKey("a")]
		return len(v.Intake.Unreconciled) == 1 && len(d) == 1 && d[0].Doc != nil && d[0].Digest != v.Items[taskKey("a")].Declared.Digest
	})
	x.round(func(v *View) *Mutation {
		f := v.Intake.Files["intake/a.md"]
		if !f.Changed.After(first) || f.Since != v.Seq {
			t.Errorf("changed %v, first %v; since %d of %d", f.Changed, first, f.Since, v.Seq)
		}
		return nil
	})
	x.drop("intake/a.md", taskDoc("a"))
	x.until("peace", func(v *View) bool { return len(v.Intake.Unreconciled) == 0 })
	x.remove("intake/a.md")
	x.until("the absence", func(v *View) bool { return slices.Equal(v.Intake.Unreconciled, []schema.Key{taskKey("a")}) })
}

func TestIdeaDeclaresItsRootSpec(t *testing.T) {
	x := observe(t, ObserveOptions{})
	x.write("intake/ideas/shiny.md", "# Shiny\n\nMake it shiny.\n")
	key := schema.Key{Family: schema.FamilySpec, ID: "idea-shiny"}
	x.until("the spec", func(v *View) bool { return slices.Equal(v.Intake.Unreconciled, []schema.Key{key}) })
	x.round(func(v *View) *Mutation {
		if d := v.Intake.ByKey[key][0]; v.Registry.Admit(d.Doc, "operator", v.Now).Key() != d.Key {
			t.Errorf("admission makes %v of %v", v.Registry.Admit(d.Doc, "operator", v.Now).Key(), d.Key)
		}
		return nil
	})
}

func TestViewNeverGoesBackInTime(t *testing.T) {
	x := observe(t, ObserveOptions{Now: func() time.Time { return time.Unix(1000, 0) }})
	x.round(func(v *View) *Mutation {
		if v.Now.Before(v.Time) {
			t.Errorf("now %v, last record %v", v.Now, v.Time)
		}
		if a, b := v.NewID("run"), v.NewID("run"); a == b || !schema.ValidID(a) {
			t.Errorf("ids %q and %q", a, b)
		}
		return nil
	})
}
