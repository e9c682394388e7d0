package envelope

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/format.md says what the code does: its limits, code points, classes and
// examples.
func TestFormatDocument(t *testing.T) {
	file, err := os.ReadFile("../../docs/format.md")
	require.NoError(t, err)
	text := string(file)
	thousands := func(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	_, messages := worked(t)
	f, err := parseFrame(messages[1].Body)
	require.NoError(t, err)
	says := []string{
		thousands(MaxBody) + " bytes", "kind over " + fmt.Sprint(uint8(Event)), "at most " + fmt.Sprint(MaxName) + " bytes of UTF-8",
		"recipients, 1 to " + fmt.Sprint(maxRecipients), "at most " + thousands(MaxDigests), "up to " + fmt.Sprint(MaxHeads) + " of", "86,400,000",
		"fieldseal digest 1", "fieldseal hidden name 1", fmt.Sprint(headerEpoch), TypeClear, TypeSealed, TypeSigned, TypeCatalogue,
		typKeyFrame, typCheckpoint, typLoss, typStatement, pemIdentity, pemRecipient,
		// The worked stream.
		fmt.Sprintf("%d bytes, one X25519 recipient", len(messages[0].Body)),
		"04 48 " + f.kid.String(), fmt.Sprintf("58 %02x …", len(f.ciphertext)),
		fmt.Sprintf("ciphertext, %d bytes padded + 16 of tag", len(f.ciphertext)-tagSize),
		"`" + hex.EncodeToString(messages[4].Body) + "`", "`" + string(messages[5].Body) + "`",
	}
	for _, c := range []Class{
		Malformed, Unsupported, Oversize, UnknownGateway, BadSignature, WrongRecipient, Tampered, Forged, Rollback, Clone, GivenUp,
	} {
		says = append(says, "`"+string(c)+"`")
	}
	for _, a := range []Algorithm{X25519, P256, MLKEM768P256, MLKEM768X25519} {
		says = append(says, fmt.Sprintf("| alg | %d | HPKE-", int(a)))
	}
	for k := Data; k <= Event; k++ {
		says = append(says, fmt.Sprintf("| %d | %s |", k, k))
	}
	for i := range messages {
		says = append(says, fmt.Sprintf("| %d |", i+1))
	}
	for _, s := range says {
		assert.Contains(t, text, s)
	}
	// The pack that is taken apart at the end, byte by byte.
	_, pack, _ := strings.Cut(text, "84                                      four records")
	var b strings.Builder
	b.WriteString("84")
	for line := range strings.Lines(pack) {
		for word := range strings.FieldsSeq(line[:min(len(line), 40)]) {
			if name, quoted := strings.CutPrefix(word, `"`); quoted {
				b.WriteString(hex.EncodeToString([]byte(strings.TrimSuffix(name, `"`))))
			} else if word != "```" {
				b.WriteString(word)
			}
		}
	}
	assert.Equal(t, hex.EncodeToString(appendPack(nil, "press-3/", takenApart())), b.String())
}
