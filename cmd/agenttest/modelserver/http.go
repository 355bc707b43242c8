package modelserver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A dialect is one provider's way to ask for an answer and to give it.
type dialect interface {
	read(body []byte) (Call, error)
	failure(status int, again time.Duration) any // again: when to try again, which not everybody says in words
	stream(w *stream, a answer)
	whole(a answer) any // the answer to a client that wants no stream
}

var dialects = map[string]dialect{
	"/v1/responses":        responses{},
	"/v1/chat/completions": chat{},
	"/v1/messages":         messages{},
}

// An answer is a reply made ready for one call.
type answer struct {
	Reply
	call Call
	id   string // unlike that of any other answer
	tool string // name of the one to call; "": text only
	args map[string]any
}

// aside is the answer to what an agent asks for beside its work, with no tools to work with: a title, a summary. It
// is no part of the script and costs nothing.
var aside = Reply{Say: "A title", Usage: Usage{Input: -1}}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went
	}
	speaks := dialects[r.URL.Path]
	switch {
	case r.Method == http.MethodPost && speaks != nil:
		s.answer(w, r, speaks, body)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/messages/count_tokens":
		write(w, http.StatusOK, map[string]int{"input_tokens": len(body) / 4})
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/models"):
		model := map[string]any{"id": "mock-model", "object": "model", "type": "model", "display_name": "Mock", "created": 1, "owned_by": "nobody"}
		write(w, http.StatusOK, map[string]any{"object": "list", "data": []any{model}, "models": []any{}, "has_more": false})
	case r.Method == http.MethodHead && r.URL.Path == "/":
	default:
		s.mu.Lock()
		s.other = append(s.other, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		write(w, http.StatusNotFound, messages{}.failure(http.StatusNotFound, 0))
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, speaks dialect, body []byte) {
	call, err := speaks.read(body)
	if err != nil {
		write(w, http.StatusBadRequest, speaks.failure(http.StatusBadRequest, 0))
		return
	}
	call.Header, call.Body = r.Header, body
	call.Key = cmp.Or(r.Header.Get("X-Api-Key"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	reply := aside
	if len(call.Tools) > 0 {
		call.N, reply = s.take(call)
	}
	if !reply.due(r.Context()) {
		return
	}
	if reply.Status != 0 {
		if reply.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(reply.RetryAfter.Seconds()))))
		}
		write(w, reply.Status, speaks.failure(reply.Status, reply.RetryAfter))
		return
	}
	a := prepare(call, reply)
	if !wantsStream(body) {
		write(w, http.StatusOK, speaks.whole(a))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := &stream{w: w, cut: reply.Cut}
	if speaks.stream(out, a); reply.Cut {
		reset(w)
	}
}

// due waits until it is time to answer, and says whether there is still somebody to answer to.
func (r *Reply) due(ctx context.Context) bool {
	if r.Hold != nil {
		select {
		case <-r.Hold:
		case <-ctx.Done():
		}
	}
	select {
	case <-time.After(r.Stall):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func wantsStream(body []byte) bool {
	var b struct {
		Stream bool `json:"stream"`
	}
	return json.Unmarshal(body, &b) == nil && b.Stream
}

func prepare(call Call, reply Reply) answer {
	a := answer{Reply: reply, call: call, id: fmt.Sprintf("%s_%d", call.API, call.N), tool: reply.Tool, args: reply.Args}
	switch {
	case a.Usage == Usage{}:
		a.Usage = Usage{Input: 1000, Cached: 400, Output: 50, Reasoning: 10}
	case a.Usage.Input < 0:
		a.Usage = Usage{}
	}
	if reply.Run != "" {
		if a.tool, a.args = shell(call.Tools, reply.Run); a.tool == "" && a.Say == "" {
			a.Say = "I have no shell here."
		}
	}
	return a
}

// shell is how each agent's own shell tool is told to run a command; none when no such tool is offered.
func shell(offered []string, command string) (string, map[string]any) {
	for _, name := range offered {
		switch name {
		case "exec_command":
			return name, map[string]any{"cmd": command}
		case "shell_command", "bash":
			return name, map[string]any{"command": command}
		case "Bash":
			return name, map[string]any{"command": command, "description": "Run a command"}
		case "shell":
			return name, map[string]any{"command": []string{"bash", "-c", command}}
		case "exec": // a program in JavaScript, not arguments
			quoted, _ := json.Marshal(command) // a string encodes
			return name, map[string]any{"input": fmt.Sprintf("text(JSON.stringify(await tools.exec_command({cmd: %s})));", quoted)}
		}
	}
	return "", nil
}

// A stream sends server-sent events; one that is to be cut, only those before its middle.
type stream struct {
	w    http.ResponseWriter
	cut  bool
	over bool
}

func (s *stream) middle() { s.over = s.cut }

// event sends one event; name may be empty.
func (s *stream) event(name string, data any) {
	if s.over {
		return
	}
	raw, ok := data.(string)
	if !ok {
		raw = string(encode(data))
	}
	if name != "" {
		name = "event: " + name + "\n"
	}
	_, _ = io.WriteString(s.w, name+"data: "+raw+"\n\n") // an agent may go in the middle
	_ = http.NewResponseController(s.w).Flush()
}

// pieces parts a long text as a model that speaks does: no event is longer than this.
func pieces(text string) []string {
	const size = 16 << 10
	var all []string
	for len(text) > size {
		cut := size
		for cut > size-4 && text[cut]&0xC0 == 0x80 { // not in the middle of a character
			cut--
		}
		all, text = append(all, text[:cut]), text[cut:]
	}
	return append(all, text)
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(body)) // an agent may go in the middle
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // a script with arguments that are no JSON
	}
	return data
}

// reset ends a connection so that the client sees it reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
