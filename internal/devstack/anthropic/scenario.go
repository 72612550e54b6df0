package anthropic

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed scenarios/*.yaml
var files embed.FS

// embedded are the scenarios that come with the package.
func embedded() fs.FS {
	sub, err := fs.Sub(files, "scenarios")
	if err != nil {
		panic(err) // the path is constant and valid
	}
	return sub
}

// Scenario is a script for one conversation; scenarios/README.md documents
// the fields for those who write them.
type Scenario struct {
	Name      string   `yaml:"-"`          // the file's name without .yaml
	About     string   `yaml:"about"`      // one sentence for the reader
	Match     []string `yaml:"match"`      // any of these in the first prompt chooses it
	Steps     []Step   `yaml:"steps"`      // one for each call of the model
	FollowUps [][]Step `yaml:"follow_ups"` // steps after the second prompt, the third, …
}

// Step is one answer of the model: words, at most one tool call, or trouble.
type Step struct {
	Say   string `yaml:"say"`
	Read  string `yaml:"read"`
	Edit  *Edit  `yaml:"edit"`
	Write *Write `yaml:"write"`
	Bash  string `yaml:"bash"`

	Expect  string `yaml:"expect"`   // what the tool's result must hold
	MayFail bool   `yaml:"may_fail"` // the tool's result may be an error
	Repeat  bool   `yaml:"repeat"`   // the last step, for ever
	Stop    string `yaml:"stop"`     // stop_reason in place of the usual one

	Delay      time.Duration `yaml:"delay"`       // before the answer begins
	Fail       int           `yaml:"fail"`        // HTTP status of an error in its place
	RetryAfter int           `yaml:"retry_after"` // seconds, with Fail
	ResetsIn   time.Duration `yaml:"resets_in"`   // with Fail 429: the subscription's usage limit is reached
	Stall      bool          `yaml:"stall"`       // begin, then say nothing more
	Cut        bool          `yaml:"cut"`         // break the connection in the middle
	Times      int           `yaml:"times"`       // how many requests meet the trouble; 0: all

	InputTokens  int64 `yaml:"input_tokens"` // in place of what is counted
	OutputTokens int64 `yaml:"output_tokens"`
}

// Edit replaces one text in a file that was read before.
type Edit struct {
	Path string `yaml:"path"`
	Old  string `yaml:"old"`
	New  string `yaml:"new"`
	All  bool   `yaml:"all"`
}

// Write makes a file.
type Write struct {
	Path    string `yaml:"path"`
	Content string `yaml:"content"`
}

// scenarios are all that a server knows, by the order of their files.
type scenarios []*Scenario

// loadScenarios reads every *.yaml at the root of fsys, strictly.
func loadScenarios(fsys fs.FS) (scenarios, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all scenarios
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		s := &Scenario{Name: strings.TrimSuffix(path.Base(name), ".yaml")}
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(s); err != nil {
			return nil, fmt.Errorf("scenario %s: %w", name, err)
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("scenario %s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// check refuses steps that mean nothing.
func (s *Scenario) check() error {
	if len(s.Steps) == 0 {
		return errors.New("no steps")
	}
	for _, list := range append([][]Step{s.Steps}, s.FollowUps...) {
		for i, step := range list {
			if err := step.check(); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
			if step.Repeat && i != len(list)-1 {
				return fmt.Errorf("step %d: only the last step repeats", i+1)
			}
		}
	}
	return nil
}

func (s Step) check() error {
	_, tools := s.call(".")
	trouble := s.Fail != 0 || s.Stall || s.Cut
	switch {
	case tools > 1:
		return errors.New("more than one tool")
	case tools == 0 && s.Say == "" && (!trouble || s.Cut || s.Times > 0):
		return errors.New("says nothing and does nothing")
	case tools == 0 && (s.Expect != "" || s.MayFail):
		return errors.New("expects a result of no tool")
	case s.Fail != 0 && failures[s.Fail] == "":
		return fmt.Errorf("the API has no error %d", s.Fail)
	case !trouble && s.Times > 0:
		return errors.New("times without trouble")
	}
	return nil
}

// named finds a scenario.
func (all scenarios) named(name string) (*Scenario, bool) {
	for _, s := range all {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}

var byName = regexp.MustCompile(`\bscenario:([a-z0-9-]+)`)

// choose finds the scenario for a conversation's first prompt: named in it as
// scenario:NAME, or by its match texts.
func (all scenarios) choose(prompt string) (*Scenario, bool) {
	for _, found := range byName.FindAllStringSubmatch(prompt, -1) {
		if s, ok := all.named(found[1]); ok {
			return s, true
		}
	}
	for _, s := range all {
		for _, text := range s.Match {
			if strings.Contains(prompt, text) {
				return s, true
			}
		}
	}
	return nil, false
}

// toolCall is a call as a tool_use block holds it.
type toolCall struct {
	name  string
	input map[string]any
}

// call makes the step's tool call with absolute paths, and counts the tools
// that the step names.
func (s Step) call(cwd string) (*toolCall, int) {
	abs := func(p string) string {
		if path.IsAbs(p) {
			return p
		}
		return path.Join(cwd, p)
	}
	var call *toolCall
	n := 0
	add := func(name string, input map[string]any) { call, n = &toolCall{name, input}, n+1 }
	if s.Read != "" {
		add("Read", map[string]any{"file_path": abs(s.Read)})
	}
	if s.Edit != nil {
		input := map[string]any{"file_path": abs(s.Edit.Path), "old_string": s.Edit.Old, "new_string": s.Edit.New}
		if s.Edit.All {
			input["replace_all"] = true
		}
		add("Edit", input)
	}
	if s.Write != nil {
		add("Write", map[string]any{"file_path": abs(s.Write.Path), "content": s.Write.Content})
	}
	if s.Bash != "" {
		add("Bash", map[string]any{"command": s.Bash, "description": "Run a command"})
	}
	return call, n
}
