package broker

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Rates are what tokens cost, in USD per million.
type Rates struct {
	Input        float64 `json:"input"`
	Output       float64 `json:"output"`
	CacheRead    float64 `json:"cache_read"`
	CacheWrite5m float64 `json:"cache_write_5m"`
	CacheWrite1h float64 `json:"cache_write_1h"`
}

// ModelPrice is what a model costs.
type ModelPrice struct {
	Rates
	// Long holds for every token of a call whose prompt, cached or not, is
	// longer than AboveTokens; nil where the length doesn't matter.
	Long *LongPrice `json:"long"`
}

// LongPrice are the rates of calls with a long prompt.
type LongPrice struct {
	AboveTokens int64 `json:"above_tokens"`
	Rates
}

//go:embed prices.json
var pricesJSON []byte

type priceFile struct {
	Date       string                `json:"date"`
	Models     map[string]ModelPrice `json:"models"`
	USFactor   float64               `json:"us_inference_factor"`
	SandboxUSD struct {
		VCPUHour      float64 `json:"vcpu_hour"`
		MemoryGiBHour float64 `json:"memory_gib_hour"`
		DiskGiBHour   float64 `json:"disk_gib_hour"`
		FreeDiskGiB   int     `json:"free_disk_gib"`
	} `json:"sandbox"`
}

// prices reads the embedded file. Like a pattern that doesn't compile, a file
// that doesn't parse is a mistake in the source, which the tests catch.
var prices = sync.OnceValue(func() priceFile {
	var f priceFile
	if err := json.Unmarshal(pricesJSON, &f); err != nil {
		panic(err)
	}
	return f
})

// PriceDate is the day on which the prices were looked up, as 2026-01-31.
func PriceDate() string { return prices().Date }

var dated = regexp.MustCompile(`-20\d{6}$`)

// undated strips the date of a model's id: claude-haiku-4-5-20251001 costs
// what claude-haiku-4-5 costs.
func undated(model string) string { return dated.ReplaceAllString(model, "") }

// Price returns a model's price, by its id with or without a date; false if
// the price file doesn't know it.
func Price(model string) (ModelPrice, bool) {
	p, ok := prices().Models[undated(model)]
	return p, ok
}

// SandboxUSD is what a Daytona sandbox of that size costs for the time. The
// free part of the disk is one organisation's: it's taken off every sandbox,
// which understates the cost of many by less than a cent a day each.
func SandboxUSD(cpu, memGiB, diskGiB int, d time.Duration) float64 {
	p := prices().SandboxUSD
	hourly := float64(cpu)*p.VCPUHour + float64(memGiB)*p.MemoryGiBHour +
		float64(max(0, diskGiB-p.FreeDiskGiB))*p.DiskGiBHour
	return hourly * d.Hours()
}

// usage is what a call used, in the API's words.
type usage struct {
	Input         int64 `json:"input_tokens"` // without cache reads and writes
	Output        int64 `json:"output_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheWrite    int64 `json:"cache_creation_input_tokens"`
	CacheCreation struct {
		OneHour int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	Geo string `json:"inference_geo"`
}

// bounded takes figures out of usage that can't be.
func (u usage) bounded() usage {
	const most = 1 << 32
	for _, n := range []*int64{&u.Input, &u.Output, &u.CacheRead, &u.CacheWrite, &u.CacheCreation.OneHour} {
		*n = min(max(*n, 0), most)
	}
	u.CacheCreation.OneHour = min(u.CacheCreation.OneHour, u.CacheWrite)
	return u
}

// prompt is the number of input tokens, cached or not.
func (u usage) prompt() int64 { return u.Input + u.CacheRead + u.CacheWrite }

// rates are those for a prompt of that length.
func (p ModelPrice) rates(prompt int64) Rates {
	if p.Long != nil && prompt > p.Long.AboveTokens {
		return p.Long.Rates
	}
	return p.Rates
}

// usd is what u costs.
func (p ModelPrice) usd(u usage) float64 {
	r := p.rates(u.prompt())
	usd := float64(u.Input)*r.Input + float64(u.Output)*r.Output + float64(u.CacheRead)*r.CacheRead +
		float64(u.CacheWrite-u.CacheCreation.OneHour)*r.CacheWrite5m + float64(u.CacheCreation.OneHour)*r.CacheWrite1h
	if u.Geo == "us" {
		usd *= prices().USFactor
	}
	return usd / 1e6
}

// CheckPrice refuses a model whose price is not known where there is a limit
// of cost to keep: a fault of kind Usage.
func CheckPrice(model string, maxCostUSD float64) error {
	if _, ok := Price(model); ok || maxCostUSD == 0 {
		return nil
	}
	return fault.New(fault.Usage, "there is no price for model %q, so the cost limit of $%.2f can't be kept", model, maxCostUSD).
		WithHint("use a model that has a price, or --max-cost 0 for no limit")
}
