package daytona

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// The SSH gateway: user name and only credential is a token of ssh-access.
// As in v0.190, a shell gets a terminal if the client asks for one and then
// always ends with 0, and a command never gets one; a client's variables are
// taken and not used. SFTP and forwarding are not there.

const (
	sshHandshake = 30 * time.Second
	// sshActive is how often an open connection counts as activity.
	sshActive = 45 * time.Second
)

// listenSSH opens the gateway; the function that it returns serves until that
// is closed. The host key follows from the API key: who keeps that meets the
// same host again.
func (s *Server) listenSSH(ctx context.Context) (serve func(), err error) {
	mac := hmac.New(sha256.New, []byte(s.key))
	mac.Write([]byte("ssh host key"))
	host, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(mac.Sum(nil)))
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(host)
	if s.ssh, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	return func() {
		for {
			conn, err := s.ssh.Accept()
			if err != nil {
				return // closed
			}
			s.work.Go(func() {
				if err := s.serveSSH(conn, config); err != nil {
					s.log.Debug("ssh connection", "error", err)
				}
			})
		}
	}, nil
}

// serveSSH serves one connection until either side, the sandbox or the access
// ends. As the gateway, it lets everybody in and then drops who has no token.
func (s *Server) serveSSH(conn net.Conn, config *ssh.ServerConfig) error {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(sshHandshake)); err != nil {
		return err
	}
	client, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	id, ok := s.sshSandbox(client.User())
	if !ok {
		return errors.New("no such ssh access")
	}
	_, tools, err := s.running(id, false)
	if err != nil {
		return err
	}
	ctx, cancel := tools.tied()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	work.Go(func() { ssh.DiscardRequests(requests) })
	work.Go(func() { s.watchSSH(ctx, cancel, client.User()) })
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "the embedded Daytona has sessions only")
			continue
		}
		work.Go(func() { tools.serveSSHSession(ctx, channel) })
	}
	return nil
}

// watchSSH counts an open connection as activity, and ends it when its access
// ended.
func (s *Server) watchSSH(ctx context.Context, cancel func(), token string) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	counted := s.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := s.now()
		due := now.Sub(counted) >= sshActive
		if due {
			counted = now
		}
		id, ok := s.sshSandbox(token)
		if ok {
			_, _, err := s.running(id, !due)
			ok = err == nil
		}
		if !ok {
			cancel()
			return
		}
	}
}

// sshSession is one session of a connection: a shell or a command.
type sshSession struct {
	tools   *tools
	ctx     context.Context
	channel ssh.Channel
	work    sync.WaitGroup
	begun   bool
	term    string
	size    *Size // of the terminal, if there is one

	mu      sync.Mutex
	process *Process // once it runs
}

func (t *tools) serveSSHSession(ctx context.Context, asked ssh.NewChannel) {
	channel, requests, err := asked.Accept()
	if err != nil {
		return // the connection's end
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &sshSession{tools: t, ctx: ctx, channel: channel}
	defer x.work.Wait()
	defer channel.Close()
	defer cancel()
	for request := range requests {
		ok := x.handle(request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
	}
}

// handle does what the client asks for; false refuses it.
func (x *sshSession) handle(request *ssh.Request) bool {
	switch request.Type {
	case "pty-req":
		var asked struct {
			Term                      string
			Cols, Rows, Width, Height uint32
			Modes                     string
		}
		if ssh.Unmarshal(request.Payload, &asked) != nil || x.begun {
			return false
		}
		x.term, x.size = asked.Term, &Size{clip(asked.Cols), clip(asked.Rows)}
		return true
	case "window-change":
		var asked struct{ Cols, Rows, Width, Height uint32 }
		return ssh.Unmarshal(request.Payload, &asked) == nil && x.resize(Size{clip(asked.Cols), clip(asked.Rows)})
	case "env":
		return true
	case "signal":
		var asked struct{ Signal string }
		return ssh.Unmarshal(request.Payload, &asked) == nil && x.signal(asked.Signal)
	case "shell", "exec":
		var asked struct{ Command string }
		if request.Type == "exec" && ssh.Unmarshal(request.Payload, &asked) != nil || x.begun {
			return false
		}
		x.begun = true
		if asked.Command != "" {
			x.size = nil
		}
		x.work.Go(func() { x.run(asked.Command) })
		return true
	}
	return false
}

// clip is a terminal's side within bounds.
func clip(n uint32) uint16 { return uint16(min(n, maxSide)) }

func (x *sshSession) resize(size Size) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.size != nil && x.process != nil && x.process.Resize(size) == nil
}

// run runs the command, or a shell if it is "", and tells its exit code.
func (x *sshSession) run(line string) {
	input, feed := io.Pipe()
	x.work.Go(func() {
		// It ends with the command, the client's input or the channel.
		_, err := io.Copy(feed, x.channel)
		feed.CloseWithError(err)
	})
	command := Command{
		Args: []string{"/bin/sh"}, Stdin: input, Stdout: x.channel, Stderr: x.channel.Stderr(),
		Started: func(p Process) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.process = &p
		},
	}
	switch {
	case line != "":
		command.Args = append(command.Args, "-c", line)
	case x.size != nil:
		command.Args = []string{"/bin/sh", "-c", "exec " + anyShell}
		command.Terminal, command.Env = x.size, map[string]string{"TERM": x.term}
	}
	exit, err := x.tools.engine.Exec(x.ctx, x.tools.id, command)
	switch {
	case x.ctx.Err() != nil:
		return // nobody is left to tell
	case err != nil:
		fmt.Fprintln(x.channel.Stderr(), err)
		exit = 1
	case command.Terminal != nil:
		exit = 0
	}
	_, _ = x.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(exit)}))
	_ = x.channel.Close()
}

// signals are those that SSH names (RFC 4254, section 6.10).
var signals = map[ssh.Signal]bool{
	ssh.SIGABRT: true, ssh.SIGALRM: true, ssh.SIGFPE: true, ssh.SIGHUP: true, ssh.SIGILL: true, ssh.SIGINT: true, ssh.SIGKILL: true,
	ssh.SIGPIPE: true, ssh.SIGQUIT: true, ssh.SIGSEGV: true, ssh.SIGTERM: true, ssh.SIGUSR1: true, ssh.SIGUSR2: true,
}

// signal sends the command a signal; one that SSH does not name kills it.
func (x *sshSession) signal(name string) bool {
	if !signals[ssh.Signal(name)] {
		name = "KILL"
	}
	x.mu.Lock()
	process := x.process
	x.mu.Unlock()
	if process == nil {
		return false
	}
	return x.tools.script(x.ctx, `kill -s "$1" "$2"`, []string{name, strconv.Itoa(process.PID)}, nil) == nil
}
