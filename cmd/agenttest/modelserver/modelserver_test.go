package modelserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The requests of three clients that have run a tool once, after the user spoke for the second time.
var asked = map[string]string{
	"responses": `{"model":"m","stream":true,"reasoning":{"effort":"high"},"tools":[{"type":"function","name":"exec_command"},{"type":"web_search"}],"input":[
		{"type":"message","role":"developer","content":[{"type":"input_text","text":"be good"}]},
		{"type":"message","role":"user","content":[{"type":"input_text","text":"first"}]},
		{"type":"function_call","name":"exec_command","call_id":"a","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"old"},
		{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>x</environment_context>"}]},
		{"type":"message","role":"user","content":[{"type":"input_text","text":"second"}]},
		{"type":"function_call_output","call_id":"b","output":"new"},
		{"type":"custom_tool_call_output","call_id":"c","output":[{"type":"input_text","text":"newer"}]}]}`,
	"chat": `{"model":"m","stream":true,"reasoning_effort":"high","tools":[{"type":"function","function":{"name":"bash"}}],"messages":[
		{"role":"system","content":"be good"},{"role":"user","content":"first"},{"role":"tool","tool_call_id":"a","content":"old"},
		{"role":"user","content":[{"type":"text","text":"second"}]},
		{"role":"tool","tool_call_id":"b","content":"new"},{"role":"tool","tool_call_id":"c","content":"newer"}]}`,
	"messages": `{"model":"m","stream":true,"output_config":{"effort":"high"},"tools":[{"name":"Bash"}],"system":"be good","messages":[
		{"role":"user","content":"first"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"old"}]},
		{"role":"user","content":[{"type":"text","text":"second"},{"type":"text","text":"<system-reminder>x</system-reminder>"}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":"new"},{"type":"text","text":"<system-reminder>y</system-reminder>"}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"newer"}]}]}]}`,
}

var paths = map[string]string{"responses": "/v1/responses", "chat": "/v1/chat/completions", "messages": "/v1/messages"}

func inEach(t *testing.T, f func(t *testing.T, api string)) {
	for api := range paths {
		t.Run(api, func(t *testing.T) { f(t, api) })
	}
}

// post sends a request as an agent does.
func post(t *testing.T, s *Server, api, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+paths[api], strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if api == "messages" {
		req.Header.Set("X-Api-Key", "k")
	} else {
		req.Header.Set("Authorization", "Bearer k")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// A said is what a client makes of a stream: only what the APIs promise about it is relied on.
type said struct {
	text, tool, args string
	usage            map[string]any
	ended            bool
	events           int
}

func listen(t *testing.T, api string, body io.Reader) (said, error) {
	t.Helper()
	got := said{usage: map[string]any{}}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if got.events++; data == "[DONE]" {
			got.ended = true
			continue
		}
		var e any
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		str := func(path ...any) string { s, _ := at(e, path...).(string); return s }
		keep := func(path ...any) {
			if u, ok := at(e, path...).(map[string]any); ok {
				maps.Copy(got.usage, u)
			}
		}
		switch api {
		case "responses":
			got.text += str("delta")
			if name := str("item", "name"); name != "" {
				got.tool, got.args = name, str("item", "arguments")+str("item", "input")
			}
			keep("response", "usage")
			got.ended = str("type") == "response.completed"
		case "chat":
			got.text += str("choices", 0, "delta", "content")
			if name := str("choices", 0, "delta", "tool_calls", 0, "function", "name"); name != "" {
				got.tool, got.args = name, str("choices", 0, "delta", "tool_calls", 0, "function", "arguments")
			}
			keep("usage")
		case "messages":
			got.text += str("delta", "text")
			got.tool += str("content_block", "name")
			got.args += str("delta", "partial_json")
			keep("message", "usage")
			keep("usage")
			got.ended = str("type") == "message_stop"
		}
	}
	return got, lines.Err()
}

// at follows names and indices into what JSON holds.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func TestCallIsReadAsTheAgentMeansIt(t *testing.T) {
	inEach(t, func(t *testing.T, api string) {
		s := Start(t, Say("hello"))
		got, err := listen(t, api, post(t, s, api, asked[api]).Body)
		if err != nil || got.text != "hello" || got.tool != "" || !got.ended {
			t.Errorf("the answer was %+v, %v", got, err)
		}
		c := s.Calls()[0]
		if c.API != api || c.Model != "m" || c.Key != "k" || c.Effort != "high" || c.Prompt != "second" || c.N != 1 || len(c.Tools) == 0 {
			t.Errorf("the call was read as %+v", c)
		}
		if want := []string{"new", "newer"}; !reflect.DeepEqual(c.Results, want) {
			t.Errorf("results %q, want %q", c.Results, want)
		}
		if !bytes.Equal(c.Body, []byte(asked[api])) || c.Header.Get("User-Agent") == "" {
			t.Errorf("the call does not hold what was sent")
		}
	})
}

func TestStepsToolsAndUsage(t *testing.T) {
	usage := Usage{Input: 100, Cached: 60, CacheWrite: 30, Output: 7, Reasoning: 3}
	inEach(t, func(t *testing.T, api string) {
		s := Start(t, Steps(Reply{Run: `echo "x"`, Usage: usage}, Reply{Tool: "other", Args: map[string]any{"a": 1}}, Reply{Say: "end", NoUsage: true}))
		var got [4]said
		for i := range got {
			var err error
			if got[i], err = listen(t, api, post(t, s, api, asked[api]).Body); err != nil || !got[i].ended {
				t.Fatalf("answer %d is %+v, %v", i+1, got[i], err)
			}
		}
		wantTool := map[string]string{"responses": "exec_command", "chat": "bash", "messages": "Bash"}[api]
		if got[0].tool != wantTool || !strings.Contains(got[0].args, `echo \"x\"`) {
			t.Errorf("a command became %+v", got[0])
		}
		if got[1].tool != "other" || got[1].args != `{"a":1}` {
			t.Errorf("a tool became %+v", got[1])
		}
		if got[2].text != "end" || got[3].text != "end" {
			t.Errorf("after the last step came %+v", got[3])
		}
		var tokens [5]float64 // as each API counts
		for i, path := range map[string][5][]any{
			"responses": {{"input_tokens"}, {"input_tokens_details", "cached_tokens"}, {"output_tokens"}, {"output_tokens_details", "reasoning_tokens"}, {"input_tokens_details", "cache_write_tokens"}},
			"chat":      {{"prompt_tokens"}, {"prompt_tokens_details", "cached_tokens"}, {"completion_tokens"}, {"completion_tokens_details", "reasoning_tokens"}, {"prompt_tokens_details", "cache_write_tokens"}},
			"messages":  {{"input_tokens"}, {"cache_read_input_tokens"}, {"output_tokens"}, {"output_tokens_details", "thinking_tokens"}, {"cache_creation_input_tokens"}},
		}[api] {
			tokens[i], _ = at(got[0].usage, path...).(float64)
		}
		want := [5]float64{100, 60, 7, 3, 30}
		if api == "messages" {
			want[0] = 10 // neither read from the cache nor written to it
		}
		if tokens != want {
			t.Errorf("usage %v is %v, want %v", got[0].usage, tokens, want)
		}
		if n, _ := at(got[2].usage, "input_tokens").(float64); n != 0 || (api != "messages" && len(got[2].usage) > 0) {
			t.Errorf("usage that was not to be told: %v", got[2].usage)
		}
	})
}

func TestFailuresAreTheProviders(t *testing.T) {
	kinds := map[int][2]string{ // OpenAI's code or type, Anthropic's type
		401: {"invalid_api_key", "authentication_error"}, 403: {"request_forbidden", "permission_error"},
		429: {"rate_limit_exceeded", "rate_limit_error"}, 500: {"server_error", "api_error"}, 529: {"service_unavailable_error", "overloaded_error"},
	}
	inEach(t, func(t *testing.T, api string) {
		for status, kind := range kinds {
			s := Start(t, Steps(Reply{Status: status, RetryAfter: 1500 * time.Millisecond}))
			resp := post(t, s, api, asked[api])
			body, _ := io.ReadAll(resp.Body)
			want := kind[0]
			if api == "messages" {
				want = kind[1]
			} else if status == http.StatusTooManyRequests && !bytes.Contains(body, []byte("try again in 1.5s")) {
				t.Errorf("%s does not say when to try again", body)
			}
			if resp.StatusCode != status || resp.Header.Get("Retry-After") != "2" || !bytes.Contains(body, []byte(`"`+want+`"`)) {
				t.Errorf("%d is answered with %s, retry after %q: %s", status, resp.Status, resp.Header.Get("Retry-After"), body)
			}
		}
	})
}

func TestCutStreamIsReset(t *testing.T) {
	inEach(t, func(t *testing.T, api string) {
		s := Start(t, Steps(Reply{Say: "half", Cut: true}, Reply{Run: "true", Cut: true}))
		for i, part := range []string{"half", ""} {
			got, err := listen(t, api, post(t, s, api, asked[api]).Body)
			if err == nil || got.ended || got.events == 0 || got.text != part {
				t.Errorf("cut stream %d gave %+v, %v", i+1, got, err)
			}
		}
	})
}

func TestHugeAnswerComesWhole(t *testing.T) {
	huge := strings.Repeat("é\"\n", 1<<20)
	inEach(t, func(t *testing.T, api string) {
		s := Start(t, Say(huge))
		got, err := listen(t, api, post(t, s, api, asked[api]).Body)
		if err != nil || got.text != huge || got.events < 100 {
			t.Errorf("%d bytes in %d events, %v; want %d bytes", len(got.text), got.events, err, len(huge))
		}
	})
}

func TestHeldAnswerWaits(t *testing.T) {
	hold := make(chan struct{})
	s := Start(t, Steps(Reply{Say: "x", Hold: hold}))
	released := time.AfterFunc(50*time.Millisecond, func() { close(hold) })
	got, err := listen(t, "chat", post(t, s, "chat", asked["chat"]).Body)
	if err != nil || got.text != "x" || released.Stop() {
		t.Errorf("before it was released came %+v, %v", got, err)
	}
}

func TestStallEndsWithTheServer(t *testing.T) {
	t.Run("stall", func(t *testing.T) {
		s := Start(t, Steps(Reply{Say: "x", Stall: time.Hour}))
		go func() { // ends with the server, which ends with the test
			if resp, err := http.Post(s.URL()+paths["chat"], "", strings.NewReader(asked["chat"])); err == nil {
				resp.Body.Close()
			}
		}()
		for len(s.Calls()) == 0 {
			time.Sleep(time.Millisecond)
		}
	})
	s := Start(t, Steps(Reply{Say: "x", Stall: 50 * time.Millisecond}))
	start := time.Now()
	if got, err := listen(t, "chat", post(t, s, "chat", asked["chat"]).Body); err != nil || got.text != "x" || time.Since(start) < 50*time.Millisecond {
		t.Errorf("after %s came %+v, %v", time.Since(start), got, err)
	}
}

// What an agent asks beside its work takes no step of the script.
func TestAside(t *testing.T) {
	inEach(t, func(t *testing.T, api string) {
		s := Start(t, Say("scripted"))
		resp := post(t, s, api, `{"model":"small","messages":[{"role":"user","content":"title?"}],"input":[]}`)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK || !json.Valid(body) || !bytes.Contains(body, []byte(aside.Say)) || len(s.Calls()) != 0 {
			t.Errorf("%s: %s, %d calls", resp.Status, body, len(s.Calls()))
		}
	})
	s := Start(t, Say("scripted"))
	for _, ask := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v1/models", 200}, {"HEAD", "/", 200}, {"POST", "/v1/messages/count_tokens?beta=true", 200}, {"GET", "/telemetry", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), ask.method, s.URL()+ask.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != ask.status {
			t.Errorf("%s %s: %s", ask.method, ask.path, resp.Status)
		}
	}
	if got := s.Others(); !reflect.DeepEqual(got, []string{"GET /telemetry"}) {
		t.Errorf("others: %q", got)
	}
}

func TestCodexPrograms(t *testing.T) {
	s := Start(t, Steps(Reply{Run: `echo "a"`}))
	body := strings.Replace(asked["responses"], `"name":"exec_command"},`, `"name":"exec"},`, 1)
	got, err := listen(t, "responses", post(t, s, "responses", body).Body)
	if err != nil || got.tool != "exec" || !strings.Contains(got.args, `tools.exec_command({cmd: "echo \"a\""})`) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _ := listen(t, "responses", post(t, s, "responses", strings.Replace(asked["responses"], "exec_command", "other", 1)).Body); got.tool != "" || got.text == "" {
		t.Errorf("without a shell: %+v", got)
	}
}
