package main

import (
	"os"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/approve"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// approve makes an approver, pins her at the gateway and has her sign what
// stands in the folder. What a recipient pins is in the file approvers; her
// secret key stands apart, as it is on a machine of her own in a plant.
func (p *plant) approve() error {
	anna, err := approve.New("anna")
	if err != nil {
		return err
	}
	if err := approve.Pin(p.path("state"), 1, anna); err != nil {
		return err
	}
	set, err := approve.Set(1, anna)
	if err != nil {
		return err
	}
	if err := os.Mkdir(p.path("approver"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"approvers":              set.Text(),
		"approver/anna.approver": anna.Secret.Reveal() + "\n",
		"keys/anna.approver.pub": anna.Public + "\n",
	} {
		if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return anna.Sign(p.path("gateway.yaml"))
}

// load reads the configuration, as far as it is approved.
func (p *plant) load() (*configs.Config, []configs.Problem, error) {
	store, err := approval.Open(p.path("state"))
	if err != nil {
		return nil, nil, err
	}
	c, problems := configs.Load(p.path("gateway.yaml"), configs.Options{Approvals: store})
	return c, problems, nil
}
