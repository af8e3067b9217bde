// A FastCGI client in Go, standard library only: `client SETTING`, the setting of setting.py as JSON.
//
// A goroutine for each connection, and no more connections than PHP has workers. Every request is encoded from its
// parameters, every record of the answer is read, END_REQUEST is looked at and the CGI head is cut off. No probe, no
// queue, no deadline, no cancelling.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	beginRequest = 1
	endRequest   = 3
	paramsRecord = 4
	stdinRecord  = 5
	stdoutRecord = 6
	keepConn     = 1
)

type setting struct {
	Address  string            `json:"address"`
	Params   map[string]string `json:"params"`
	Expected string            `json:"expected"`
	Workers  int               `json:"workers"`
	AtOnce   int               `json:"at_once"`
	Jobs     int               `json:"jobs"`
	WarmUp   int               `json:"warm_up"`
}

type client struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte
	in     []byte
	header [8]byte
}

func dial(address string) (*client, error) {
	parts := strings.SplitN(address, "://", 2)
	conn, err := net.Dial(parts[0], parts[1])
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, reader: bufio.NewReaderSize(conn, 65536)}, nil
}

func appendHeader(out []byte, kind byte, length int) []byte {
	return append(out, 1, kind, 0, 1, byte(length>>8), byte(length), 0, 0)
}

func appendLength(out []byte, length int) []byte {
	if length < 128 {
		return append(out, byte(length))
	}
	return append(out, byte(length>>24)|0x80, byte(length>>16), byte(length>>8), byte(length))
}

func (c *client) write(params map[string]string) error {
	out := appendHeader(c.out[:0], beginRequest, 8)
	out = append(out, 0, 1, keepConn, 0, 0, 0, 0, 0)
	start := len(out)
	out = appendHeader(out, paramsRecord, 0)
	for name, value := range params {
		out = appendLength(out, len(name))
		out = appendLength(out, len(value))
		out = append(out, name...)
		out = append(out, value...)
	}
	binary.BigEndian.PutUint16(out[start+4:], uint16(len(out)-start-8))
	out = appendHeader(out, paramsRecord, 0)
	out = appendHeader(out, stdinRecord, 0)
	c.out = out
	_, err := c.conn.Write(out)
	return err
}

// run returns the response's content, which is valid until the next call.
func (c *client) run(params map[string]string) ([]byte, error) {
	if err := c.write(params); err != nil {
		return nil, err
	}
	c.in = c.in[:0]
	for {
		if _, err := io.ReadFull(c.reader, c.header[:]); err != nil {
			return nil, err
		}
		length := int(binary.BigEndian.Uint16(c.header[4:]))
		start := len(c.in)
		for cap(c.in) < start+length {
			c.in = append(c.in[:cap(c.in)], 0)
		}
		c.in = c.in[:start+length]
		content := c.in[start:]
		if _, err := io.ReadFull(c.reader, content); err != nil {
			return nil, err
		}
		if _, err := c.reader.Discard(int(c.header[6])); err != nil {
			return nil, err
		}
		switch c.header[1] {
		case stdoutRecord:
			continue
		case endRequest:
			if binary.BigEndian.Uint32(content) != 0 || content[4] != 0 {
				return nil, fmt.Errorf("PHP-FPM ended the request with %v", content)
			}
			c.in = c.in[:start]
			at := bytes.Index(c.in, []byte("\r\n\r\n"))
			if at < 0 {
				return nil, errors.New("the response has no head")
			}
			return c.in[at+4:], nil
		}
		c.in = c.in[:start]
	}
}

func run(clients []*client, given *setting, jobs int) ([]float64, error) {
	each := (jobs + len(clients) - 1) / len(clients)
	latencies := make([]float64, each*len(clients))
	failures := make([]error, len(clients))
	var group sync.WaitGroup
	for number, one := range clients {
		group.Add(1)
		go func(number int, one *client) {
			defer group.Done()
			mine := latencies[number*each : (number+1)*each]
			for job := range mine {
				begun := time.Now()
				content, err := one.run(given.Params)
				if err == nil && string(content) != given.Expected {
					err = fmt.Errorf("PHP answered %q", content)
				}
				if err != nil {
					failures[number] = err
					return
				}
				mine[job] = time.Since(begun).Seconds()
			}
		}(number, one)
	}
	group.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return latencies, nil
}

func memory(name string) int {
	status, _ := os.ReadFile("/proc/self/status")
	var value int
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, name+":") {
			fmt.Sscan(strings.TrimPrefix(line, name+":"), &value)
		}
	}
	return value
}

func cpu() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	given := &setting{}
	must(json.Unmarshal([]byte(os.Args[1]), given))
	// a second thread would cost CPU time and bring no throughput: the goroutines wait for PHP
	runtime.GOMAXPROCS(1)
	count := given.AtOnce
	if count > given.Workers {
		count = given.Workers
	}
	clients := make([]*client, count)
	for number := range clients {
		one, err := dial(given.Address)
		must(err)
		clients[number] = one
	}
	_, err := run(clients, given, given.WarmUp)
	must(err)
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	before, cpuBefore, begun := memory("VmRSS"), cpu(), time.Now()
	latencies, err := run(clients, given, given.Jobs)
	must(err)
	wall, cpuAfter, peak := time.Since(begun).Seconds(), cpu(), memory("VmHWM")
	for _, one := range clients {
		one.conn.Close()
	}
	sort.Float64s(latencies)
	growth := peak - before
	if growth < 0 {
		growth = 0
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"jobs": len(latencies), "cpu": cpuAfter - cpuBefore, "wall": wall, "memory": growth,
		"p50": latencies[len(latencies)/2], "p99": latencies[len(latencies)*99/100],
		"longest": latencies[len(latencies)-1],
	}))
}
