package broker

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// body is a request with further fields.
func requestBody(fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}]` + fields + `}`
}

func content(blocks string) string {
	return `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":[` + blocks + `]}]}`
}

func TestCheckCall(t *testing.T) {
	t.Parallel()
	const (
		ok  = 0
		bad = http.StatusBadRequest
		no  = http.StatusForbidden
	)
	image := func(source string) string { return `{"type":"image","source":{` + source + `}}` }
	base64 := image(`"type":"base64","media_type":"image/png","data":"iVBO"`)
	url := image(`"type":"url","url":"https://evil.example/?q=source"`)
	for name, tt := range map[string]struct {
		body   string
		status int
	}{
		"plain":                   {requestBody(``), ok},
		"Claude Code's fields":    {requestBody(`"stream":true,"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],"thinking":{"type":"adaptive","display":"updates"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high"},"metadata":{"user_id":"u"}`), ok},
		"dropped fields":          {requestBody(`"speed":"fast","inference_geo":"us","fallbacks":"default","service_tier":"auto"`), ok},
		"custom tools":            {requestBody(`"tools":[{"name":"Bash","description":"d","input_schema":{"properties":{"url":{"type":"url"}}}},{"type":"custom","name":"x","input_schema":{},"defer_loading":true}]`), ok},
		"image":                   {content(base64), ok},
		"image in a result":       {content(`{"type":"tool_result","tool_use_id":"t","content":[` + base64 + `]}`), ok},
		"document of text":        {content(`{"type":"document","source":{"type":"content","content":[{"type":"text","text":"x"}]}}`), ok},
		"URL in a tool's input":   {content(`{"type":"tool_use","id":"t","name":"x","input":{"type":"image","source":{"type":"url"}}}`), ok},
		"change of tools":         {content(`{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"name":"x","input_schema":{}}}},{"type":"tool_removal","tool":{"type":"tool_reference","name":"x"}}`), ok},
		"effort of a turn":        {`{"model":"m","max_tokens":1,"messages":[{"role":"system","content":[],"output_config":{"effort":"low"}}]}`, ok},
		"format of a turn":        {`{"model":"m","max_tokens":1,"messages":[{"role":"system","content":[],"output_config":{"format":{}}}]}`, no},
		"not an object":           {`[1]`, bad},
		"no messages":             {`{"model":"claude-sonnet-5","max_tokens":1}`, bad},
		"no max_tokens":           {`{"model":"claude-sonnet-5","messages":[]}`, bad},
		"negative max_tokens":     {`{"model":"claude-sonnet-5","messages":[],"max_tokens":-1}`, bad},
		"fraction of max_tokens":  {`{"model":"claude-sonnet-5","messages":[],"max_tokens":1e3}`, bad},
		"huge max_tokens":         {`{"model":"claude-sonnet-5","messages":[],"max_tokens":99999999999999999999}`, bad},
		"text as max_tokens":      {`{"model":"claude-sonnet-5","messages":[],"max_tokens":"5"}`, bad},
		"stream is text":          {requestBody(`"stream":"true"`), bad},
		"MCP servers":             {requestBody(`"mcp_servers":[{"type":"url","url":"https://evil.example"}]`), no},
		"empty MCP servers":       {requestBody(`"mcp_servers":[]`), no},
		"container":               {requestBody(`"container":"c"`), no},
		"thread":                  {requestBody(`"thread":{"id":"x"}`), no},
		"field in capitals":       {requestBody(`"Tools":[{"type":"web_search_20250305"}]`), no},
		"unknown field":           {requestBody(`"next_year":1`), no},
		"web search":              {requestBody(`"tools":[{"type":"web_search_20250305","name":"web_search"}]`), no},
		"web fetch":               {requestBody(`"tools":[{"type":"web_fetch_20250910","name":"web_fetch"}]`), no},
		"code execution":          {requestBody(`"tools":[{"type":"code_execution_20250825","name":"c"}]`), no},
		"MCP tools":               {requestBody(`"tools":[{"type":"mcp_toolset","mcp_server_name":"x"}]`), no},
		"bash of the vendor":      {requestBody(`"tools":[{"type":"bash_20250124","name":"bash"}]`), no},
		"type is null":            {requestBody(`"tools":[{"type":null,"name":"x"}]`), no},
		"tool is text":            {requestBody(`"tools":["web_search"]`), no},
		"tools is an object":      {requestBody(`"tools":{}`), bad},
		"allowed callers":         {requestBody(`"tools":[{"name":"x","allowed_callers":["code_execution_20250825"]}]`), no},
		"compaction":              {requestBody(`"context_management":{"edits":[{"type":"compact_20260112"}]}`), no},
		"other management":        {requestBody(`"context_management":{"edits":[],"x":1}`), no},
		"image by URL":            {content(url), no},
		"image by escaped URL":    {content(image(`"type":"\u0075rl","\u0075rl":"https://evil.example"`)), no},
		"image by file":           {content(image(`"type":"file","file_id":"f"`)), no},
		"base64 with URL":         {content(image(`"type":"base64","data":"","url":"https://evil.example"`)), no},
		"image without source":    {content(`{"type":"image"}`), bad},
		"image, source is a list": {content(`{"type":"image","source":[{"type":"url"}]}`), no},
		"document by URL":         {content(`{"type":"document","source":{"type":"url","url":"https://evil.example"}}`), no},
		"URL in a result":         {content(`{"type":"tool_result","tool_use_id":"t","content":[` + url + `]}`), no},
		"URL in a document":       {content(`{"type":"document","source":{"type":"content","content":[` + url + `]}}`), no},
		"URL in a search result":  {content(`{"type":"search_result","source":{"type":"url"},"content":[]}`), no},
		"content of search":       {content(`{"type":"search_result","source":"s","title":"t","content":[` + url + `]}`), no},
		"URL in a text":           {content(`{"type":"text","text":"x","source":{"type":"url"}}`), no},
		"use in a result":         {content(`{"type":"tool_result","tool_use_id":"t","content":[{"type":"tool_use"}]}`), no},
		"server tool use":         {content(`{"type":"server_tool_use","id":"s","name":"web_fetch","input":{}}`), no},
		"upload to a container":   {content(`{"type":"container_upload","file_id":"f"}`), no},
		"MCP use":                 {content(`{"type":"mcp_tool_use"}`), no},
		"block without type":      {content(`{"text":"x"}`), no},
		"block is text":           {content(`"x"`), no},
		"added vendor's tool":     {content(`{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"web_fetch_20250910"}}}`), no},
		"added MCP tools":         {content(`{"type":"tool_addition","tool":{"type":"mcp_toolset"}}`), no},
		"image in system":         {requestBody(`"system":[` + base64 + `]`), no},
		"field of a message":      {`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x","container":"c"}]}`, no},
		"content is an object":    {`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":{}}]}`, bad},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, err := parseDocument([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			c, err := checkCall(doc, false)
			var refused *refusal
			switch {
			case tt.status == ok && err != nil:
				t.Errorf("refused: %v", err)
			case tt.status != ok && (!errors.As(err, &refused) || refused.status != tt.status):
				t.Errorf("got %v, want status %d", err, tt.status)
			}
			if c != nil {
				for _, f := range droppedFields {
					if strings.Contains(string(c.body.appendTo(nil)), fmt.Sprintf("%q", f)) {
						t.Errorf("%s is forwarded", f)
					}
				}
			}
		})
	}
}

func TestBetas(t *testing.T) {
	t.Parallel()
	got := betas([]string{"claude-code-20250219, mcp-client-2025-11-20,", "MCP-Client-2025-04-04,web-fetch-2025-09-10,files-api-2025-04-14",
		"skills-2025-10-02,code-execution-2025-08-25,context-management-2025-06-27,fast-mode-2026-02-01,oauth-2025-04-20"})
	if want := "claude-code-20250219 context-management-2025-06-27"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
