package daytona_test

import (
	"context"
	"errors"
	"net"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// hollow is an engine for tests of the API alone: nothing runs in it.
func hollow() daytona.Engine { return hollowEngine{} }

type hollowEngine struct{}

var errHollow = errors.New("nothing runs here")

func (hollowEngine) Isolates() bool                                      { return true }
func (hollowEngine) Notice() string                                      { return "" }
func (hollowEngine) Load(context.Context) ([]daytona.Saved, error)       { return nil, nil }
func (hollowEngine) Create(context.Context, daytona.Spec) error          { return nil }
func (hollowEngine) Save(context.Context, string, []byte) error          { return nil }
func (hollowEngine) Start(context.Context, string) ([]string, error)     { return nil, nil }
func (hollowEngine) Stop(context.Context, string) error                  { return nil }
func (hollowEngine) Remove(context.Context, string) error                { return nil }
func (hollowEngine) Block(context.Context, string, bool) error           { return nil }
func (hollowEngine) Dial(context.Context, string, int) (net.Conn, error) { return nil, errHollow }
func (hollowEngine) Close() error                                        { return nil }
func (hollowEngine) Exec(context.Context, string, daytona.Command) (int, error) {
	return 0, errHollow
}
