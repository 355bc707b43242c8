package modelserver

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

type object = map[string]any

// openaiFailure is how OpenAI words a failure, in both of its APIs.
func openaiFailure(status int, again time.Duration) any {
	kind, code, message := "invalid_request_error", "", "Your request was malformed."
	switch {
	case status == http.StatusUnauthorized:
		code, message = "invalid_api_key", "Incorrect API key provided."
	case status == http.StatusForbidden:
		kind, code, message = "request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"
	case status == http.StatusTooManyRequests:
		kind, code, message = "requests", "rate_limit_exceeded", "Rate limit reached."
		if again > 0 {
			message += " Please try again in " + again.String() + "."
		}
	case status == http.StatusServiceUnavailable || status == 529:
		kind, message = "service_unavailable_error", "The server is currently overloaded. Please try again later."
	case status >= 500:
		kind, message = "server_error", "The server had an error while processing your request. Sorry about that!"
	}
	return object{"error": object{"message": message, "type": kind, "param": nil, "code": code}}
}

type responses struct{}

func (responses) failure(status int, again time.Duration) any { return openaiFailure(status, again) }

func (responses) read(body []byte) (Call, error) {
	var b struct {
		ask
		Reasoning struct {
			Effort string `json:"effort"`
		} `json:"reasoning"`
		Input []struct {
			Type    string  `json:"type"`
			Role    string  `json:"role"`
			Content content `json:"content"`
			Output  content `json:"output"`
		} `json:"input"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return Call{}, err
	}
	c := b.call("responses")
	c.Effort = b.Reasoning.Effort
	var turns []turn
	for _, item := range b.Input {
		switch {
		case item.Role == "user":
			turns = append(turns, turn{text: item.Content.text()})
		case item.Output != nil:
			turns = append(turns, turn{tool: true, text: item.Output.text()})
		}
	}
	c.converse(turns)
	return c, nil
}

func (responses) item(a answer) object {
	switch a.tool {
	case "":
		return object{"type": "message", "id": "msg_" + a.id, "role": "assistant", "content": []any{object{"type": "output_text", "text": a.Say}}}
	case "exec", "apply_patch": // tools that take text
		return object{"type": "custom_tool_call", "id": "ctc_" + a.id, "call_id": "call_" + a.id, "name": a.tool, "input": a.args["input"]}
	}
	call := object{"type": "function_call", "id": "fc_" + a.id, "call_id": "call_" + a.id, "name": a.tool, "arguments": string(encode(a.args))}
	if space, name, ok := strings.Cut(a.tool, "/"); ok {
		call["namespace"], call["name"] = space, name
	}
	return call
}

func (d responses) response(a answer, status string, items ...any) object {
	r := object{"id": "resp_" + a.id, "object": "response", "status": status, "model": a.call.Model, "output": slices.Concat([]any{}, items)}
	if u := a.Usage; status == "completed" && !a.NoUsage {
		r["usage"] = object{
			"input_tokens": u.Input, "input_tokens_details": object{"cached_tokens": u.Cached, "cache_write_tokens": u.CacheWrite},
			"output_tokens": u.Output, "output_tokens_details": object{"reasoning_tokens": u.Reasoning}, "total_tokens": u.Input + u.Output,
		}
	}
	return r
}

func (d responses) whole(a answer) any { return d.response(a, "completed", d.item(a)) }

func (d responses) stream(w *stream, a answer) {
	send := func(kind string, more object) {
		more["type"] = kind
		w.event(kind, more)
	}
	send("response.created", object{"response": d.response(a, "in_progress")})
	item := d.item(a)
	if a.tool == "" {
		send("response.output_item.added", object{"output_index": 0, "item": object{"type": "message", "id": item["id"], "role": "assistant", "content": []any{}}})
		for _, piece := range pieces(a.Say) {
			send("response.output_text.delta", object{"item_id": item["id"], "output_index": 0, "content_index": 0, "delta": piece})
			w.middle()
		}
	}
	w.middle()
	send("response.output_item.done", object{"output_index": 0, "item": item})
	send("response.completed", object{"response": d.response(a, "completed", item)})
}

type chat struct{}

func (chat) failure(status int, again time.Duration) any { return openaiFailure(status, again) }

func (chat) read(body []byte) (Call, error) {
	var b struct {
		ask
		Effort    string `json:"reasoning_effort"`
		Reasoning struct {
			Effort string `json:"effort"`
		} `json:"reasoning"`
		Messages []struct {
			Role    string  `json:"role"`
			Content content `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return Call{}, err
	}
	c := b.call("chat")
	c.Effort = cmp.Or(b.Effort, b.Reasoning.Effort)
	var turns []turn
	for _, m := range b.Messages {
		if m.Role == "user" || m.Role == "tool" {
			turns = append(turns, turn{tool: m.Role == "tool", text: m.Content.text()})
		}
	}
	c.converse(turns)
	return c, nil
}

func (chat) usage(a answer) any {
	if a.NoUsage {
		return nil
	}
	u := a.Usage
	return object{
		"prompt_tokens": u.Input, "prompt_tokens_details": object{"cached_tokens": u.Cached, "cache_write_tokens": u.CacheWrite},
		"completion_tokens": u.Output, "completion_tokens_details": object{"reasoning_tokens": u.Reasoning}, "total_tokens": u.Input + u.Output,
	}
}

// message is the answer's, and why it ends; as a delta of a stream its tool call has an index.
func (chat) message(a answer) (object, string) {
	m := object{"role": "assistant", "content": a.Say}
	if a.tool == "" {
		return m, "stop"
	}
	m["content"] = nil
	m["tool_calls"] = []any{object{"index": 0, "id": "call_" + a.id, "type": "function", "function": object{"name": a.tool, "arguments": string(encode(a.args))}}}
	return m, "tool_calls"
}

func (d chat) whole(a answer) any {
	m, why := d.message(a)
	return object{"id": "chatcmpl-" + a.id, "object": "chat.completion", "created": 1, "model": a.call.Model, "usage": d.usage(a),
		"choices": []any{object{"index": 0, "message": m, "finish_reason": why}}}
}

func (d chat) stream(w *stream, a answer) {
	send := func(usage any, choices ...any) {
		w.event("", object{"id": "chatcmpl-" + a.id, "object": "chat.completion.chunk", "created": 1, "model": a.call.Model,
			"choices": slices.Concat([]any{}, choices), "usage": usage})
	}
	m, why := d.message(a)
	if a.tool != "" {
		send(nil, object{"index": 0, "delta": m, "finish_reason": nil})
	} else {
		for _, piece := range pieces(a.Say) {
			send(nil, object{"index": 0, "delta": object{"role": "assistant", "content": piece}, "finish_reason": nil})
			w.middle()
		}
	}
	w.middle()
	send(nil, object{"index": 0, "delta": object{}, "finish_reason": why})
	if !a.NoUsage {
		send(d.usage(a))
	}
	w.event("", "[DONE]")
}
