package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Sizes of files that are copied, in bytes.
const (
	largeFile = 1 << 30
	smallFile = 10 << 20
)

// transfers compares `sandboxes cp` with the one HTTP request that moves the
// file, from or to the same server and disk, and what it needs for a large file
// with what it needs for a small one.
func transfers(ctx context.Context, program string, rounds int) (_ []row, err error) {
	const aim, aimMemory = 0.8, 32 << 20
	w, err := newWorld(ctx, engineProcess)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close(context.WithoutCancel(ctx))) }()
	m := &mover{world: w, program: program}
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []struct {
		name         string
		ours, plain  timed
		small, large func(context.Context) (int64, error)
	}{
		{"upload", m.timed(m.large, "box:large"), m.post, m.peak(m.small, "box:small"), m.peak(m.large, "box:large")},
		{"download", m.timed("box:large", m.copied), m.get, m.peak("box:small", m.copied), m.peak("box:large", m.copied)},
	} {
		c, err := compare(ctx, rounds, way.ours, way.plain)
		if err != nil {
			return nil, err
		}
		r := c.row(fmt.Sprintf("sandboxes cp, %s of 1 GiB, against a plain HTTP copy", way.name), 0, 10*time.Millisecond)
		speed := float64(c.baseline) / float64(c.ours)
		r.ours += fmt.Sprintf(" (%.0f MiB/s)", largeFile>>20/c.ours.Seconds())
		r.aim, r.met = fmt.Sprintf("%.0f %% of its speed or more", 100*aim), speed >= aim
		small, errSmall := way.small(ctx)
		large, errLarge := way.large(ctx)
		if err := errors.Join(errSmall, errLarge); err != nil {
			return nil, err
		}
		rows = append(rows, r, row{
			what: fmt.Sprintf("peak memory of the %s of 1 GiB, against 10 MiB", way.name),
			ours: mebibytes(large), baseline: mebibytes(small), ratio: fmt.Sprintf("%.2f", float64(large)/float64(small)),
			extra: mebibytes(large - small), aim: "at most " + mebibytes(aimMemory) + " in all", met: large <= aimMemory,
		})
	}
	return rows, nil
}

// mover copies files to and from one sandbox.
type mover struct {
	*world
	program              string
	toolbox              string // the sandbox's address
	large, small, copied string // paths on this machine
	home                 string // in the sandbox
}

// prepare makes the files, and the sandbox, which gets them, too.
func (m *mover) prepare(ctx context.Context) error {
	m.large, m.small, m.copied = filepath.Join(m.dir, "large"), filepath.Join(m.dir, "small"), filepath.Join(m.dir, "copied")
	for path, size := range map[string]int64{m.large: largeFile, m.small: smallFile} {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, rand.Reader, size)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	c, err := client.New(client.Config{BaseURL: m.sandboxes.URL(), Key: secret.New(m.sandboxes.Key())})
	if err != nil {
		return err
	}
	s, err := c.Create(ctx, client.CreateSandbox{Name: "box", Labels: map[string]string{"bench": "transfers"}, Snapshot: image})
	if err != nil {
		return err
	}
	if m.home, err = c.Toolbox(s).HomeDir(ctx); err != nil {
		return err
	}
	m.toolbox = s.ToolboxProxyURL + "/" + s.ID
	_, err = m.cp(ctx, m.small, "box:small")
	return err
}

// cp runs the command and returns the most memory that it held, in bytes.
func (m *mover) cp(ctx context.Context, from, to string) (peak int64, err error) {
	c := exec.CommandContext(ctx, m.program, "sandboxes", "cp", "--all", "--confirm", "box", from, to)
	var said bytes.Buffer
	c.Env = []string{"HOME=" + m.dir, "DAYTONA_API_URL=" + m.sandboxes.URL(), "DAYTONA_API_KEY=" + m.sandboxes.Key()}
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return 0, err
	}
	over, peaks := make(chan struct{}), make(chan int64)
	go func() { peaks <- watchMemory(c.Process.Pid, over) }()
	err = c.Wait()
	close(over)
	peak = <-peaks
	if err != nil {
		err = fmt.Errorf("sandboxes cp: %w\n%s", err, said.Bytes())
	}
	return peak, err
}

func (m *mover) timed(from, to string) timed {
	return func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		_, err := m.cp(ctx, from, to)
		return time.Since(begin), err
	}
}

func (m *mover) peak(from, to string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) { return m.cp(ctx, from, to) }
}

// post is the request that uploads the large file.
func (m *mover) post(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_, errFile := w.CreateFormField("files[0].path")
	form.WriteString(m.home + "/large")
	_, errPart := w.CreateFormFile("files[0].file", "large")
	head := form.Len()
	if err := errors.Join(errFile, errPart, w.Close()); err != nil {
		return 0, err
	}
	f, err := os.Open(m.large)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	body := io.MultiReader(bytes.NewReader(form.Bytes()[:head]), f, bytes.NewReader(form.Bytes()[head:]))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.toolbox+"/files/bulk-upload", body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = int64(form.Len()) + largeFile
	req.Header.Set("Content-Type", w.FormDataContentType())
	return m.exchange(req, io.Discard, begin)
}

// get is the request that downloads it.
func (m *mover) get(ctx context.Context) (_ time.Duration, err error) {
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.toolbox+"/files/download?path="+url.QueryEscape(m.home+"/large"), nil)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(m.copied)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return m.exchange(req, f, begin)
}

func (m *mover) exchange(req *http.Request, to io.Writer, begin time.Time) (time.Duration, error) {
	req.Header.Set("Authorization", "Bearer "+m.sandboxes.Key())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(to, resp.Body)
	if resp.StatusCode != http.StatusOK {
		err = cmp.Or(err, fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status))
	}
	return time.Since(begin), err
}
