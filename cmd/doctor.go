package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/doctor"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/term"
)

type doctorOptions struct {
	deep bool
	json bool
}

func newDoctor(a *app, do func(context.Context, *doctorOptions) error) *cobra.Command {
	o := &doctorOptions{}
	c := &cobra.Command{
		Use: "doctor", Short: "Find out whether Daytona does what dayclaude needs", Args: cobra.NoArgs,
		Long: `Find out whether Daytona does what dayclaude needs, by using it: --deep makes a
sandbox, does in it and with it everything that a run or a command may ask for,
and deletes it. That takes a minute or two, and costs as much sandbox time.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if !o.deep {
				return fault.New(fault.Usage, "doctor has only its deep examination yet").WithHint("add --deep")
			}
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.deep, "deep", false, "go through the life of one sandbox")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// doctor examines Daytona and shows each step as it ends.
func (a *app) doctor(ctx context.Context, o *doctorOptions) error {
	client, settings, err := a.daytonaClient(ctx)
	if err != nil {
		return err
	}
	db, err := a.openStore(ctx) // for its id: what is left can be told to be ours
	if err != nil {
		return err
	}
	store := db.ID()
	if err := db.Close(); err != nil {
		return err
	}
	name := doctor.NewName()
	defer a.setFarewell(fmt.Sprintf("sandbox %s may be left; `dayclaude sandboxes delete %s` deletes it", name, name))()
	sheet := &doctorSheet{a: a, json: o.json, view: doctorView{Sandbox: name}}
	ctx = notice.With(ctx, func(text string) { fmt.Fprintln(a.streams.Err, "note:", text) })
	deep := &doctor.Deep{
		Daytona: client, Name: name, StoreID: store, Snapshot: settings.Snapshot, Now: time.Now,
		Web:   &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Begin: sheet.begin, Done: sheet.done,
	}
	defer deep.Web.CloseIdleConnections()
	err = deep.Run(ctx)
	if sheet.view.OK = err == nil; o.json {
		if printed := writeJSON(a.streams.Out, sheet.view); printed != nil {
			return printed
		}
	}
	if err != nil && sheet.tells(err) {
		return &toldError{err}
	}
	return err
}

// doctorView is what --json prints.
type doctorView struct {
	Sandbox string     `json:"sandbox"` // its name
	OK      bool       `json:"ok"`
	Steps   []stepView `json:"steps"`
}

type stepView struct {
	Step    string        `json:"step"`
	Result  doctor.Result `json:"result"`
	Seconds float64       `json:"duration_seconds"`
	Detail  string        `json:"detail"`
	Error   *problem      `json:"error"`
}

// doctorSheet shows the steps of an examination.
type doctorSheet struct {
	a     *app
	json  bool
	view  doctorView
	shown []error
}

// begin shows on a terminal what is under way.
func (d *doctorSheet) begin(step string) {
	if !d.json && d.a.streams.Terminal() {
		fmt.Fprintf(d.a.streams.Err, "%s …", step)
	}
}

func (d *doctorSheet) done(s doctor.Step) {
	v := stepView{Step: s.Name, Result: s.Result, Seconds: s.Took.Seconds(), Detail: s.Detail}
	if s.Err != nil {
		d.shown = append(d.shown, s.Err)
		v.Error = &problem{Kind: fault.KindOf(s.Err), Message: s.Err.Error(), Hint: fault.HintOf(s.Err)}
	}
	d.view.Steps = append(d.view.Steps, v)
	if !d.json {
		d.print(v, s.Took)
	}
}

// print prints a step's line: what does not fit on it follows below.
func (d *doctorSheet) print(v stepView, took time.Duration) {
	const indent = 9
	s := d.a.streams
	if s.Terminal() {
		fmt.Fprint(s.Err, "\r\x1b[K") // what begin showed
	}
	names := 0
	for _, name := range doctor.Steps() {
		names = max(names, len(name))
	}
	lasted := ""
	if took > 0 {
		lasted = term.Duration(took)
	}
	width := 0 // no bound
	if s.OutSize != nil {
		width, _ = s.OutSize()
	}
	head := fmt.Sprintf("%-*s%-*s  %6s", indent, v.Result, names, v.Step, lasted)
	texts := []string{v.Detail}
	if v.Error != nil {
		texts = []string{v.Error.Message}
		if v.Error.Hint != "" {
			texts = append(texts, "hint: "+v.Error.Hint)
		}
	}
	before := strings.Repeat(" ", indent)
	for i, text := range texts {
		if i == 0 && (width == 0 || len(head)+2+ansi.StringWidth(text) <= width) {
			head += "  " + text
			continue
		}
		if width > 0 {
			text = ansi.Wordwrap(text, max(width-indent, 20), "")
		}
		head = strings.TrimRight(head, " ") + "\n" + before + strings.ReplaceAll(text, "\n", "\n"+before)
	}
	fmt.Fprintln(s.Out, strings.TrimRight(head, " "))
}

// tells reports whether err was shown with its step.
func (d *doctorSheet) tells(err error) bool {
	for _, e := range d.shown {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
