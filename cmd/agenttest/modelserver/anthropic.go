package modelserver

import (
	"encoding/json"
	"net/http"
	"time"
)

type messages struct{}

func (messages) failure(status int, _ time.Duration) any {
	kind, message := "invalid_request_error", "Your request was malformed."
	switch {
	case status == http.StatusUnauthorized:
		kind, message = "authentication_error", "invalid x-api-key"
	case status == http.StatusForbidden:
		kind, message = "permission_error", "Your API key does not have permission to use the specified resource."
	case status == http.StatusNotFound:
		kind, message = "not_found_error", "Not found"
	case status == http.StatusTooManyRequests:
		kind, message = "rate_limit_error", "This request would exceed your organization's rate limit."
	case status == http.StatusServiceUnavailable || status == 529:
		kind, message = "overloaded_error", "Overloaded"
	case status >= 500:
		kind, message = "api_error", "Internal server error"
	}
	return object{"type": "error", "error": object{"type": kind, "message": message}, "request_id": "req_1"}
}

func (messages) read(body []byte) (Call, error) {
	var b struct {
		ask
		Output struct {
			Effort string `json:"effort"`
		} `json:"output_config"`
		Messages []struct {
			Role    string  `json:"role"`
			Content content `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return Call{}, err
	}
	c := b.call("messages")
	c.Effort = b.Output.Effort
	var turns []turn
	for _, m := range b.Messages {
		if m.Role != "user" {
			continue
		}
		for _, part := range m.Content {
			switch part.Type {
			case "text":
				turns = append(turns, turn{text: part.Text})
			case "tool_result":
				turns = append(turns, turn{tool: true, text: part.Content.text()})
			}
		}
	}
	c.converse(turns)
	return c, nil
}

// usage has all of the input, and of the output only what was made so far.
func (messages) usage(a answer, output int64) object {
	u := a.Usage
	return object{"input_tokens": u.Input - u.Cached - u.CacheWrite, "cache_read_input_tokens": u.Cached, "cache_creation_input_tokens": u.CacheWrite, "output_tokens": output}
}

// block is the answer's content, and why it ends.
func (messages) block(a answer) (object, string) {
	if a.tool != "" {
		return object{"type": "tool_use", "id": "toolu_" + a.id, "name": a.tool, "input": a.args}, "tool_use"
	}
	return object{"type": "text", "text": a.Say}, "end_turn"
}

func (d messages) message(a answer) object {
	m := object{"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.call.Model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
		"usage": d.usage(a, 0)}
	if a.NoUsage {
		m["usage"] = object{"input_tokens": 0, "output_tokens": 0} // there is no message without
	}
	return m
}

func (d messages) whole(a answer) any {
	m := d.message(a)
	block, why := d.block(a)
	m["content"], m["stop_reason"] = []any{block}, why
	if !a.NoUsage {
		m["usage"] = d.usage(a, a.Usage.Output)
	}
	return m
}

func (d messages) stream(w *stream, a answer) {
	send := func(kind string, more object) {
		more["type"] = kind
		w.event(kind, more)
	}
	send("message_start", object{"message": d.message(a)})
	block, why := d.block(a)
	if a.tool != "" {
		block["input"] = object{} // it comes in pieces
		send("content_block_start", object{"index": 0, "content_block": block})
		w.middle()
		send("content_block_delta", object{"index": 0, "delta": object{"type": "input_json_delta", "partial_json": string(encode(a.args))}})
	} else {
		block["text"] = ""
		send("content_block_start", object{"index": 0, "content_block": block})
		for _, piece := range pieces(a.Say) {
			send("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": piece}})
			w.middle()
		}
	}
	send("content_block_stop", object{"index": 0})
	end := object{"delta": object{"stop_reason": why, "stop_sequence": nil}, "usage": object{"output_tokens": 0}}
	if !a.NoUsage {
		end["usage"] = object{"output_tokens": a.Usage.Output, "output_tokens_details": object{"thinking_tokens": a.Usage.Reasoning}}
	}
	send("message_delta", end)
	send("message_stop", object{})
}
