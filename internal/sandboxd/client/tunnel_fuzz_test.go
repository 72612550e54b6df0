package client

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
)

// frame is one of yamux's: spec.md there.
func frame(kind byte, flags uint16, stream, length uint32, data string) string {
	head := make([]byte, 12)
	head[1] = kind
	binary.BigEndian.PutUint16(head[2:], flags)
	binary.BigEndian.PutUint32(head[4:], stream)
	binary.BigEndian.PutUint32(head[8:], length)
	return string(head) + data
}

const (
	frameData, frameWindow, framePing, frameGoAway = 0, 1, 2, 3
	flagSYN, flagACK, flagFIN, flagRST             = 1, 2, 4, 8
)

// FuzzTunnel: whatever the sandbox sends into the tunnel, as messages of the
// WebSocket or in place of them, the host ends with it, in bounded memory,
// says that it was cut or broken, and leaves nothing running.
func FuzzTunnel(f *testing.F) {
	const request = "POST /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}"
	open := func(stream uint32, data string) string {
		return frame(frameWindow, flagSYN, stream, 0, "") + frame(frameData, 0, stream, uint32(len(data)), data)
	}
	many := func(n int, each func(i uint32) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(each(uint32(i)))
		}
		return b.String()
	}
	for _, seed := range []string{
		open(1, request) + frame(frameData, flagFIN, 1, 0, ""),
		open(1, request[:20]),
		open(1, "CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n") + open(3, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		open(1, request) + frame(frameData, flagRST, 1, 0, "") + frame(frameWindow, 0, 1, 1<<31, ""),
		frame(frameData, flagSYN|flagFIN|flagRST|flagACK, 0, 1<<32-1, "x"),
		frame(frameWindow, flagSYN, 1, 0, "") + frame(frameWindow, flagSYN, 1, 0, ""),
		frame(frameWindow, flagSYN, 2, 1<<32-1, "") + frame(frameData, 0, 9, 3, "abc"),
		frame(frameGoAway, 0, 0, 2, "") + open(1, request),
		"\x01" + frame(frameData, 0, 1, 0, ""),
		many(20, func(i uint32) string { return frame(framePing, flagSYN, 0, i, "") }),
		many(200, func(i uint32) string { return frame(frameWindow, flagSYN, 2*i+1, 0, "") }),
		// A header announces a window's worth of data, which yamux makes room for.
		many(90, func(i uint32) string {
			return frame(frameWindow, flagSYN, 2*i+1, 0, "") + frame(frameData, 0, 2*i+1, 1, "x")
		}) + frame(frameData, 0, 1, 1<<18-1, ""),
	} {
		f.Add([]byte(seed), uint16(len(seed)), false)
		f.Add([]byte(seed), uint16(5), false)
	}
	for _, seed := range []string{
		"\x82\x0c" + frame(framePing, flagSYN, 0, 1, ""),
		"\x89\x7e\xff\xff", "\x88\x02\x03\xe8", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xc2\x01x", "\x81\x01x\x00\x00", "\x02\x00\x80\x00",
	} {
		f.Add([]byte(seed), uint16(3), true)
	}

	f.Fuzz(func(t *testing.T, sends []byte, size uint16, raw bool) {
		const most = 64 << 20
		running, allocated := runtime.NumGoroutine(), allocations()
		sent, told := make(chan struct{}), make(chan error, 1)
		host, sandbox := net.Pipe()
		go func() {
			defer close(sent)
			if err := upgrade(sandbox); err != nil {
				told <- err
				return
			}
			told <- nil
			go func() { _, _ = io.Copy(io.Discard, sandbox) }()
			for piece := range slices.Chunk(sends, max(int(size), 1)) {
				if !raw {
					piece = append([]byte{0x82, 126, byte(len(piece) >> 8), byte(len(piece))}, piece...) // a binary message
				}
				if _, err := sandbox.Write(piece); err != nil {
					return
				}
			}
		}()
		dial := func(context.Context, string, string) (net.Conn, error) { return host, nil }
		listener, err := New(Config{BaseURL: "http://sandbox", HTTP: &http.Client{Transport: &http.Transport{DialContext: dial}}}).Tunnel(t.Context())
		if err := errors.Join(err, <-told); err != nil {
			t.Fatal(err)
		}
		broker := &http.Server{MaxHeaderBytes: 64 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(r.Body, 1<<20))
		}), ErrorLog: log.New(io.Discard, "", 0)}
		served := make(chan error, 1)
		go func() { served <- broker.Serve(listener) }()
		<-sent
		if allocations()-allocated > most {
			var m runtime.MemStats
			runtime.GC()
			if runtime.ReadMemStats(&m); m.HeapAlloc > most {
				t.Errorf("%d MiB are held for %d bytes", m.HeapAlloc>>20, len(sends))
			}
		}
		_ = sandbox.Close()
		if err := <-served; !errors.Is(err, ErrCut) && !errors.Is(err, errBroken) {
			t.Errorf("the end is told as: %v", err)
		}
		_ = broker.Close()
		_ = listener.Close()
		for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > running; runtime.Gosched() {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d goroutines where %d were:\n%s", runtime.NumGoroutine(), running, stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
}

// upgrade is the sandbox's part in opening a WebSocket.
func upgrade(conn net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(key[:]))
	return err
}

// allocations is how many bytes were allocated so far.
func allocations() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
