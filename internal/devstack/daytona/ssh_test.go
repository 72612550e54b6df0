package daytona_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// ssh prepares the command that Daytona answers, of the real client.
func (b *bench) ssh(id string, args ...string) *exec.Cmd {
	b.Helper()
	line := b.want(b.api("POST", "/sandbox/"+id+"/ssh-access?expiresInMinutes=5", nil), 200, "").text("sshCommand")
	return b.sshLine(line, args...)
}

func (b *bench) sshLine(line string, args ...string) *exec.Cmd {
	b.Helper()
	words := strings.Fields(line)
	if len(words) != 4 || words[0] != "ssh" || words[1] != "-p" || !strings.HasSuffix(words[3], "@127.0.0.1") {
		b.Fatalf("the command is %q", line)
	}
	options := []string{"-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=" + os.DevNull, "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"}
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	b.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, testenv.Command(b.T, "ssh"), append(append(options, words[1:]...), args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// result runs a command of the real client.
func (b *bench) result(cmd *exec.Cmd) (exit int, out, errs string) {
	b.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		b.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func TestSSH(t *testing.T) {
	suite(t, func(b *bench, id string) {
		if exit, out, errs := b.result(b.ssh(id, "echo out; echo err >&2; exit 5")); exit != 5 || out != "out\n" || errs != "err\n" {
			b.Errorf("a command: %d %q %q", exit, out, errs)
		}
		// Input ends where the client's does, and nothing of it is lost.
		input := strings.Repeat("0123456789abcdef", 1<<16)
		cmd := b.ssh(id, "cat; echo end >&2")
		cmd.Stdin = strings.NewReader(input)
		if exit, out, errs := b.result(cmd); exit != 0 || out != input || errs != "end\n" {
			b.Errorf("input: %d, %d bytes, %q", exit, len(out), errs)
		}
		cmd = b.ssh(id)
		cmd.Stdin = strings.NewReader("echo shell\nexit 6\n")
		if exit, out, _ := b.result(cmd); exit != 6 || out != "shell\n" {
			b.Errorf("a shell: %d %q", exit, out)
		}
		// A command gets no terminal, and what is not there is refused.
		if exit, _, _ := b.result(b.ssh(id, "-tt", "test -t 0")); exit != 1 {
			b.Errorf("a command has a terminal: %d", exit)
		}
		if exit, _, errs := b.result(b.ssh(id, "-s", "sftp")); exit != 255 && exit != 1 || !strings.Contains(errs, "subsystem") {
			b.Errorf("sftp: %d %q", exit, errs)
		}
		line := b.want(b.api("POST", "/sandbox/"+id+"/ssh-access", nil), 200, "").text("sshCommand")
		_, rest, _ := strings.Cut(line, "@")
		if exit, _, errs := b.result(b.sshLine("ssh -p "+strings.Fields(line)[2]+" nobody@"+rest, "true")); exit != 255 {
			b.Errorf("without a token: %d %q", exit, errs)
		}
	})
}

// A shell on a terminal of the real client's.
func TestSSHTerminal(t *testing.T) {
	suite(t, func(b *bench, id string) {
		cmd := b.ssh(id)
		cmd.Env = append(os.Environ(), "TERM=xterm-color")
		ours, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 99})
		if err != nil {
			b.Fatal(err)
		}
		defer ours.Close()
		var seen []byte
		until := func(text string) {
			b.Helper()
			for buffer := make([]byte, 4096); !bytes.Contains(seen, []byte(text)); {
				n, err := ours.Read(buffer)
				if err != nil {
					b.Fatalf("waiting for %q after %q: %v", text, seen, err)
				}
				seen = append(seen, buffer[:n]...)
			}
			seen = nil
		}
		if _, err := ours.WriteString("stty size\n"); err != nil {
			b.Fatal(err)
		}
		until("33 99")
		if err := pty.Setsize(ours, &pty.Winsize{Rows: 44, Cols: 111}); err != nil {
			b.Fatal(err)
		}
		_, _ = ours.WriteString("until [ \"$(stty size)\" = '44 111' ]; do sleep 0.1; done; echo \"$((40+2))done <$TERM>\"; exit 3\n")
		until("42done <xterm-color>")
		_ = cmd.Wait()
		if exit := cmd.ProcessState.ExitCode(); exit != 0 { // v0.190 tells no other
			b.Errorf("exit code %d", exit)
		}
	})
}

// A connection ends with the client, the access and the sandbox, and what it
// runs ends with it.
func TestSSHEnds(t *testing.T) {
	suite(t, func(b *bench, id string) {
		run := func() (*exec.Cmd, string) {
			line := b.want(b.api("POST", "/sandbox/"+id+"/ssh-access?expiresInMinutes=5", nil), 200, "").text("sshCommand")
			cmd := b.sshLine(line, "echo runs; exec sleep 1015")
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 5)); err != nil {
				b.Fatal(err)
			}
			return cmd, strings.TrimSuffix(strings.Fields(line)[3], "@127.0.0.1")
		}
		ends := func(cmd *exec.Cmd, why string) {
			b.Helper()
			_ = cmd.Wait()
			if exit := cmd.ProcessState.ExitCode(); exit != 255 {
				b.Errorf("%s: exit code %d", why, exit)
			}
		}
		cmd, _ := run()
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		b.gone(id, "sleep 1015")
		cmd, token := run()
		b.want(b.api("DELETE", "/sandbox/"+id+"/ssh-access?token="+token, nil), 200, "")
		ends(cmd, "revoked")
		b.gone(id, "sleep 1015")
		cmd, _ = run()
		b.clock.advance(6 * time.Minute)
		ends(cmd, "expired")
		cmd, _ = run()
		b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
		ends(cmd, "stopped")
		b.wait(id, "stopped")
	})
}
