package closure_test

import (
	"testing"

	"millrace/controllers/controllertest"
	"millrace/controllers/dispatch"
	"millrace/controllers/result"
)

func TestX(t *testing.T) {
	o := controllertest.T(t, map[string]string{"modes/test.cue": controllertest.Judged}, result.New(), dispatch.New())
	o.Admit(controllertest.Spec("r"))
	t.Log(o.Settle())
	o = controllertest.T(t, map[string]string{"modes/test.cue": controllertest.Planned}, result.New(), dispatch.New())
	o.Admit(controllertest.Spec("r"))
	t.Log(o.Settle())
}
