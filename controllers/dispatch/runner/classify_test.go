package runner

import (
	"testing"
	"time"

	"millrace/schema"
)

// What agents have been seen to say of providers that failed, and of work that did not.
func TestTextClass(t *testing.T) {
	for text, want := range map[string]string{
		"unexpected status 401 Unauthorized: bad key":                                 schema.FailAuth,
		"exceeded retry limit, last status: 429 Too Many Requests":                    schema.FailRateLimited,
		"API Error: 529 {\"type\":\"error\"} status 529":                              schema.FailProvider,
		"Request failed with status code 503":                                         schema.FailProvider,
		"Invalid API key · Please run /login":                                         schema.FailAuth,
		"connect ECONNREFUSED 127.0.0.1:9":                                            schema.FailNetwork,
		"getaddrinfo ENOTFOUND api.example.invalid":                                   schema.FailNetwork,
		"You've hit your usage limit.":                                                schema.FailRateLimited,
		"error sending request for url (http://127.0.0.1:9/v1/responses)":             schema.FailNetwork,
		"the test expected 500 lines and got 401 of them":                             "",
		"Model metadata for `mock-model` not found. Defaulting to something.":         "",
		"We’re currently experiencing high demand, which may cause temporary errors.": schema.FailProvider,
		"Selected model is at capacity. Please try a different model.":                schema.FailProvider,
		"Missing environment variable: `K`.":                                          schema.FailAuth,
		"Quota exceeded. Check your plan and billing details.":                        schema.FailRateLimited,
		"stream disconnected before completion: stream closed":                        schema.FailNetwork,
		"status code 404": "",
	} {
		if got := textClass(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}

func TestStatusClass(t *testing.T) {
	for status, want := range map[int]string{200: "", 400: "", 404: "", 401: schema.FailAuth, 403: schema.FailAuth,
		429: schema.FailRateLimited, 500: schema.FailProvider, 529: schema.FailProvider, 600: ""} {
		if got := statusClass(status); got != want {
			t.Errorf("%d is %q, not %q", status, got, want)
		}
	}
}

func TestRetryAt(t *testing.T) {
	now := time.Date(2026, 11, 22, 20, 20, 0, 0, time.FixedZone("here", 3600))
	for text, want := range map[string]time.Duration{
		"You’ve hit your usage limit. Purchase more credits or try again at 9:20 PM.":   time.Hour,
		"You’ve hit your usage limit. Try again at 8:19 PM.":                            24*time.Hour - time.Minute,
		"You’ve hit your usage limit. Visit us or try again at Nov 23rd, 2026 9:30 PM.": 25*time.Hour + 10*time.Minute,
		"You’ve hit your usage limit. Visit us or try again at Dec 1st, 2026 8:20 PM.":  9 * 24 * time.Hour,
		"You’ve hit your usage limit. Visit us or try again at Nov 22nd, 2025 9:30 PM.": 0,
		"You’ve hit your usage limit. Try again later.":                                 0,
		"exceeded retry limit, last status: 429 Too Many Requests":                      0,
		"try again at 25:99 PM": 0,
	} {
		if got := retryAt(text, now); got != want {
			t.Errorf("%q is %v, not %v", text, got, want)
		}
	}
}

func TestFirstError(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n \n": "",
		"WARNING: x\nNot inside a trusted directory.\n":                                 "Not inside a trusted directory.",
		"WARNING: x\nError: no rollout found\n\nStack backtrace:\n   0: <unknown>\n":    "Error: no rollout found",
		"error: the argument '--model' cannot be used multiple times\n\nUsage: codex\n": "error: the argument '--model' cannot be used multiple times",
	} {
		if got := firstError(text); got != want {
			t.Errorf("%q begins with %q, not %q", text, got, want)
		}
	}
}
