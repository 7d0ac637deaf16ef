// Package lifecycle is a topic's life as every Go client here plays it: create, produce, consume, share in a group, look up
// offsets, delete.
package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A Record as it was sent, or came back: then with its place.
type Record struct {
	Partition          int32
	Offset             int64
	Key, Value, Header string
	Timestamp          int64 // milliseconds
}

// A Client under test.
type Client interface {
	Codecs() []string
	CreateTopic(topic string, partitions int32) error
	DeleteTopic(topic string) error
	IsUnknownTopic(err error) bool
	Produce(topic string, records []Record, codec string, acks int, idempotent bool) error
	Consume(topic string, count int, committedOnly bool) ([]Record, error)
	Join(group, topic string) (Member, error)
	Offset(topic string, partition int32, time int64) (int64, error) // of that time, or Earliest, or Latest
}

// Transactional is a Client that can abort one transaction and commit the next.
type Transactional interface {
	Transactions(id, topic string, aborted, committed []Record) error
}

// A Member of a group.
type Member interface {
	Poll() ([]Record, error) // waits up to 200 ms
	Assigned() []int32
	Leave() error // commits what was polled
}

const (
	Earliest   = -2
	Latest     = -1
	Partitions = 3
	count      = 3000
)

var baseTime = time.Now().Add(-time.Hour).UnixMilli() // recent, or retention would remove the records

type run struct {
	name, prefix string
	client       Client
	failed       bool
}

// Run plays it; the arguments of the program are BOOTSTRAP, PREFIX and the name to report under.
func Run(open func(bootstrap, prefix string) Client) {
	r := &run{name: os.Args[3], prefix: os.Args[2], client: open(os.Args[1], os.Args[2])}
	r.topic()
	if r.failed {
		os.Exit(1)
	}
}

// A check is left out if its first word is in $WITHOUT: the broker is known not to serve that yet (see ../README.md).
func (r *run) check(what string, body func() error) {
	if first, _, _ := strings.Cut(strings.Fields(what)[0], ":"); slices.Contains(strings.Fields(os.Getenv("WITHOUT")), first) {
		fmt.Printf("later %s %s\n", r.name, what)
		return
	}
	if err := body(); err != nil {
		r.failed = true
		fmt.Printf("FAIL %s %s: %v\n", r.name, what, err)
		return
	}
	fmt.Printf("ok %s %s\n", r.name, what)
}

func (r *run) topic() {
	topic := r.prefix + "-life"
	r.check("create a topic of 3 partitions", func() error { return r.client.CreateTopic(topic, Partitions) })

	type round struct {
		codec string
		acks  int
	}
	var rounds []round
	for _, codec := range r.client.Codecs() {
		rounds = append(rounds, round{codec, -1})
	}
	rounds = append(rounds, round{"none", 1}, round{"none", 0})
	for _, it := range rounds {
		r.check(fmt.Sprintf("produce %d records, %s, acks=%d", count, it.codec, it.acks), func() error {
			return r.client.Produce(topic, makeRecords(fmt.Sprint(it.codec, it.acks), count), it.codec, it.acks, false)
		})
	}
	total := count * len(rounds)
	var consumed []Record
	r.check(fmt.Sprintf("consume %d records", total), func() (err error) {
		consumed, err = r.client.Consume(topic, total, false)
		return err
	})
	for _, it := range rounds {
		r.check(fmt.Sprintf("records of %s, acks=%d came back in order", it.codec, it.acks), func() error {
			label := fmt.Sprint(it.codec, it.acks)
			return verify(label, makeRecords(label, count), consumed)
		})
	}
	r.check("group of two, one leaves, the other takes over", func() error { return r.groupOfTwo(topic, total) })
	r.check("group continues from the committed offset", func() error { return r.groupContinues(topic) })
	r.offsets(topic, total+100, consumed)
	r.check("idempotent produce", func() error {
		topic := r.prefix + "-idempotent"
		records := makeRecords("idempotent", count)
		if err := errors.Join(r.client.CreateTopic(topic, Partitions), r.client.Produce(topic, records, "none", -1, true)); err != nil {
			return err
		}
		return r.expectRecords(topic, count, false, "idempotent", records)
	})
	if client, ok := r.client.(Transactional); ok {
		r.check("transactions: one aborted, one committed, read_committed", func() error { return r.transactions(client) })
	}
	r.check("unknown topic is a clear error", func() error {
		if err := r.client.DeleteTopic(r.prefix + "-nobody"); !r.client.IsUnknownTopic(err) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	r.check("delete the topic", func() error { return r.client.DeleteTopic(topic) })
}

func (r *run) groupOfTwo(topic string, total int) error {
	one, err := join(r.client, r.prefix+"-group", topic)
	if err != nil {
		return err
	}
	two, err := join(r.client, r.prefix+"-group", topic)
	if err != nil {
		return err
	}
	if err := waitFor("two members do not share the partitions", func() bool {
		one, two := len(one.Assigned()), len(two.Assigned())
		return one > 0 && two > 0 && one+two == Partitions
	}); err != nil {
		return err
	}
	fromTwo, err := two.leave()
	if err != nil {
		return err
	}
	if err := waitFor("the one left did not take over", func() bool { return len(one.Assigned()) == Partitions }); err != nil {
		return err
	}
	fromOne, err := one.leaveAtTheEnd()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, record := range append(fromOne, fromTwo...) {
		seen[record.Value] = true
	}
	if len(seen) != total {
		return fmt.Errorf("the group read %d of %d records", len(seen), total)
	}
	return nil
}

func (r *run) groupContinues(topic string) error {
	more := makeRecords("more", 100)
	if err := r.client.Produce(topic, more, "none", -1, false); err != nil {
		return err
	}
	again, err := join(r.client, r.prefix+"-group", topic)
	if err != nil {
		return err
	}
	if err := waitFor("no partitions", func() bool { return len(again.Assigned()) == Partitions }); err != nil {
		return err
	}
	records, err := again.leaveAtTheEnd()
	if err != nil {
		return err
	}
	if len(records) != len(more) {
		return fmt.Errorf("%d records came, %d are new", len(records), len(more))
	}
	return verify("more", more, records)
}

func (r *run) offsets(topic string, total int, consumed []Record) {
	r.check("offsets: earliest, latest", func() error {
		sum := int64(0)
		for p := int32(0); p < Partitions; p++ {
			first, err := r.client.Offset(topic, p, Earliest)
			if err != nil || first != 0 {
				return fmt.Errorf("earliest offset %d, %v", first, err)
			}
			last, err := r.client.Offset(topic, p, Latest)
			if err != nil {
				return err
			}
			sum += last
		}
		if sum != int64(total) {
			return fmt.Errorf("latest offsets add up to %d, not %d", sum, total)
		}
		return nil
	})
	r.check("offsets: by timestamp", func() error {
		time := baseTime + count/2
		first := int64(-1)
		for _, record := range consumed {
			if record.Partition == 0 && record.Timestamp >= time && (first < 0 || record.Offset < first) {
				first = record.Offset
			}
		}
		found, err := r.client.Offset(topic, 0, time)
		if err != nil || found != first {
			return fmt.Errorf("timestamp is at offset %d, found %d, %v", first, found, err)
		}
		return nil
	})
}

func (r *run) transactions(client Transactional) error {
	topic := r.prefix + "-transactions"
	aborted, committed := makeRecords("aborted", 100), makeRecords("committed", 100)
	if err := r.client.CreateTopic(topic, Partitions); err != nil {
		return err
	}
	if err := client.Transactions(r.prefix+"-id", topic, aborted, committed); err != nil {
		return err
	}
	return errors.Join(
		r.expectRecords(topic, 200, false, "aborted", aborted),
		r.expectRecords(topic, 100, true, "aborted", nil),
		r.expectRecords(topic, 100, true, "committed", committed))
}

func (r *run) expectRecords(topic string, count int, committedOnly bool, label string, sent []Record) error {
	records, err := r.client.Consume(topic, count, committedOnly)
	if err != nil {
		return err
	}
	return verify(label, sent, records)
}

func makeRecords(label string, count int) []Record {
	records := make([]Record, count)
	for i := range records {
		records[i] = Record{
			Key:       fmt.Sprintf("%s/%d", label, i%50),
			Value:     fmt.Sprintf("%s %d %s", label, i, strings.Repeat("x", 100)),
			Header:    strconv.Itoa(i),
			Timestamp: baseTime + int64(i),
		}
	}
	return records
}

// verify that all came back once and unchanged, each key in one partition, each partition in the order of sending.
func verify(label string, sent, consumed []Record) error {
	var mine []Record
	for _, record := range consumed {
		if strings.HasPrefix(record.Value, label+" ") {
			mine = append(mine, record)
		}
	}
	if len(mine) != len(sent) {
		return fmt.Errorf("sent %d records, %d came back", len(sent), len(mine))
	}
	sort.SliceStable(mine, func(i, j int) bool { return mine[i].Offset < mine[j].Offset })
	last, home := map[int32]int{}, map[string]int32{}
	for _, record := range mine {
		number, _ := strconv.Atoi(strings.Fields(record.Value)[1])
		want := sent[number]
		want.Partition, want.Offset = record.Partition, record.Offset
		if record != want {
			return fmt.Errorf("sent %+v, got %+v", want, record)
		}
		if before, ok := last[record.Partition]; ok && before >= number {
			return fmt.Errorf("out of order: %+v", record)
		}
		if partition, ok := home[record.Key]; ok && partition != record.Partition {
			return fmt.Errorf("key in two partitions: %+v", record)
		}
		last[record.Partition], home[record.Key] = number, record.Partition
	}
	return nil
}

// A polling member has a goroutine of its own, as an application would.
type polling struct {
	Member
	stop     chan bool // true: only once no more comes
	records  []Record
	finished chan error
}

func join(client Client, group, topic string) (*polling, error) {
	member, err := client.Join(group, topic)
	if err != nil {
		return nil, err
	}
	p := &polling{Member: member, stop: make(chan bool, 1), finished: make(chan error, 1)}
	go p.loop()
	return p, nil
}

func (p *polling) loop() {
	stopping, atTheEnd := false, false
	for idle := 0; !stopping || (atTheEnd && idle < 5); idle++ {
		batch, err := p.Poll()
		if err != nil {
			p.finished <- err
			return
		}
		if len(batch) > 0 {
			idle = 0
		}
		p.records = append(p.records, batch...)
		select {
		case atTheEnd = <-p.stop:
			stopping, idle = true, 0
		default:
		}
	}
	p.finished <- p.Leave()
}

func (p *polling) leave() ([]Record, error) {
	p.stop <- false
	err := <-p.finished
	return p.records, err
}

func (p *polling) leaveAtTheEnd() ([]Record, error) {
	p.stop <- true
	err := <-p.finished
	return p.records, err
}

func waitFor(message string, condition func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New(message + " (waited 30 s)")
		}
	}
	return nil
}
