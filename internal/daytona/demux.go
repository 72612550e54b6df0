package daytona

import (
	"bytes"
	"io"
)

// The toolbox marks what a command wrote: three bytes of 1 before each line of
// its standard output, three bytes of 2 before each of its standard error.
const (
	markOut = 1
	markErr = 2
	markLen = 3
)

// demux takes the marks out of a command's log and parts it into the two
// streams. A mark may be split over any number of writes.
type demux struct {
	stdout, stderr io.Writer
	current        io.Writer // nil until the first mark
	mark           byte      // of the mark that has begun
	have           int       // bytes of it
}

// Write parts p. It fails only with what a writer says.
func (d *demux) Write(p []byte) (int, error) {
	rest := p
	for len(rest) > 0 {
		if d.have == 0 {
			i := bytes.IndexAny(rest, "\x01\x02")
			if i < 0 {
				return len(p), d.emit(rest)
			}
			if err := d.emit(rest[:i]); err != nil {
				return 0, err
			}
			d.mark, d.have, rest = rest[i], 1, rest[i+1:]
			continue
		}
		if rest[0] != d.mark { // it was no mark
			if err := d.flush(); err != nil {
				return 0, err
			}
			continue
		}
		rest = rest[1:]
		if d.have++; d.have < markLen {
			continue
		}
		d.have, d.current = 0, d.stdout
		if d.mark == markErr {
			d.current = d.stderr
		}
	}
	return len(p), nil
}

// flush writes what could have become a mark.
func (d *demux) flush() error {
	held := bytes.Repeat([]byte{d.mark}, d.have)
	d.have = 0
	return d.emit(held)
}

// emit writes to the current stream; servers that mark nothing mix the two.
func (d *demux) emit(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if d.current == nil {
		d.current = d.stdout
	}
	_, err := d.current.Write(p)
	return err
}
