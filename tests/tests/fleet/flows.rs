//! What the company does, in its own words.

/// Client by client, with what takes it back; started by hand.
pub const OFFER: &str = "---
type: workflow
input: {type: object, required: [clients], properties: {clients: {type: array}}}
steps:
  draft: {agent: writer, input: '{{ input.clients }}', retry: {attempts: 4, first: 1m}}
  sure: {ask: 'Send it?', choices: [send, stop], timeout: 5d}
  way:
    choose:
      - when: steps.sure.answer == 'send'
        go: all
      - else: end
  all:
    each: input.clients
    as: client
    at_once: 2
    steps:
      send:
        effect: mail.send
        target: '{{ client }} of {{ task }}'
        args: {text: offer}
        agent: sales
        retry: {attempts: 3, first: 1m}
        compensate: {effect: mail.send, target: '{{ client }} of {{ task }}', args: {text: sorry}, tags: [sorry]}
  book: {effect: bank.pay, target: '{{ task }}', amount: 12, args: {}, retry: {attempts: 2, first: 1m}}
---
";
/// By a schedule: allowed up to a cap.
pub const NEWS: &str = "---
type: workflow
on: {cron: '0 */6 * * *', zone: UTC}
steps:
  send: {effect: mail.send, target: 'readers {{ task }}', args: {text: news}, tags: [news]}
  rest: {wait: 2h}
  note: {effect: file.write, target: 'note {{ task }}', args: {}}
---
";
/// For every invoice.
pub const CHASE: &str = "---
type: workflow
on:
  - {entity: created, type: invoice}
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  paid: {wait: {event: bank.paid, where: event.client == input.client, deadline: 2d}}
  both:
    parallel:
      one: {file: {effect: file.write, target: 'file {{ input.client }}', args: {}}}
      two: {sub: {workflow: thank, input: {client: '{{ input.client }}'}}}
  spam: {effect: mail.spam, target: '{{ input.client }}', args: {}, on_error: end}
---
";
pub const THANK: &str = "---
type: workflow
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  send: {effect: mail.send, target: 'thanks {{ input.client }}', args: {}, tags: [thanks], timeout: 4d}
---
";
/// For what is paid, and tells of it.
pub const RECEIPT: &str = "---
type: workflow
on: {event: bank.paid, where: event.client != 'client 1'}
input: {type: object, properties: {client: {type: string}}}
steps:
  write: {effect: file.write, target: 'receipt {{ trigger.id }}', args: {}}
  tell: {emit: books.changed, data: {client: '{{ input.client }}'}}
---
";
pub const BOOKS: &str = "---
type: workflow
on: {event: books.changed}
steps: {note: {effect: file.write, target: 'books {{ trigger.id }}', args: {}}}
---
";
pub const POLICY: &str = "---
type: policy
rules:
  - {name: spam, verdict: deny, capability: mail.spam}
  - {name: news, verdict: allow, capability: mail.send, tags: [news], zone: UTC, caps: [{count: 2, per: day}], rate: {count: 1, per: hour}}
  - {name: sorry, verdict: allow, capability: mail.send, tags: [sorry]}
  - {name: thanks, verdict: allow, capability: mail.send, tags: [thanks]}
  - {name: bills, verdict: allow, capability: mail.send, tags: [bill]}
  - {name: wages, verdict: allow, capability: bank.pay, tags: [wage], zone: UTC, caps: [{money: 30, per: day}]}
  - {name: make, verdict: allow, capability: file.create}
  - {name: set, verdict: allow, capability: file.set}
  - {name: files, verdict: allow, capability: file.write, zone: UTC, quiet: '02:00-05:00'}
  - {name: models, verdict: allow, capability: model.call, zone: UTC, caps: [{money: 1.00, per: day}]}
  - {name: offers, verdict: ask, capability: mail.send, escalate: [{after: 6h, ask: 'Now?'}, {after: 3d, deny: nobody decided}]}
---
";

/// The second version of offers: they are paid for otherwise, and told of.
pub fn next_offer() -> String {
    let end = "  tell: {effect: file.write, target: 'told {{ task }}', args: {}}\n---\n";
    OFFER.replace("amount: 12", "amount: 13").trim_end_matches("---\n").to_owned() + end
}

/// For each client once a day, whoever asks: the file is the claim.
pub const BILL: &str = "---
type: workflow
on: {cron: '15 */8 * * *', zone: UTC}
input: {type: object, properties: {day: {type: string, default: ''}}}
steps:
  clients: {find: 'clients/*.md', match: {state: active}}
  all:
    each: steps.clients.all
    as: client
    at_once: 2
    steps:
      claim:
        effect: file.create
        target: 'bills/{{ input.day or began[:10] }} {{ client.fields.name }}.md'
        args: {fields: {type: bill, client: '{{ client.fields.name }}', state: open}}
        retry: {attempts: 3, first: 1m}
      first: {choose: [{when: steps.claim.made, go: send}, {else: end}]}
      send:
        effect: mail.send
        target: 'bill {{ steps.claim.path }}'
        args: {}
        tags: [bill]
        retry: {attempts: 3, first: 1m}
      sent: {effect: file.set, target: '{{ steps.claim.path }}', args: {set: {state: sent}, append: 'sent for {{ task }}'}}
---
";
/// For every bill.
pub const COLLECT: &str = "---
type: workflow
on: {entity: created, type: bill}
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  paid: {wait: {event: bank.paid, where: event.client == input.client, deadline: 1d}}
  way: {choose: [{when: steps.paid.late, go: remind}, {else: done}]}
  remind: {effect: mail.send, target: 'reminder {{ trigger.path }}', args: {}, tags: [bill], retry: {attempts: 3, first: 1m}}
  done: {effect: file.set, target: '{{ trigger.path }}', args: {set: {state: closed}}}
---
";
/// At once, up to so much money in a day.
pub const WAGES: &str = "---
type: workflow
input: {type: object, required: [to], properties: {to: {type: array}}}
steps:
  all:
    each: input.to
    as: to
    at_once: 4
    steps: {pay: {effect: bank.pay, target: '{{ to }} {{ task }}', amount: 12, args: {}, tags: [wage], retry: {attempts: 3, first: 1m}}}
---
";
/// By a program, on a device that is there for such work.
pub const REPORT: &str = "---
type: workflow
needs: {heavy: true, lease: 3h}
steps:
  crunch: {agent: cruncher, input: {n: 1}, timeout: 5h, retry: {attempts: 4, first: 1m}}
  keep: {effect: file.create, target: 'reports/{{ task }}.md', args: {fields: {type: report, sum: '{{ steps.crunch.sum }}'}}}
  tell: {effect: mail.send, target: 'report {{ task }}', args: {}, tags: [thanks]}
---
";
/// Where payments happen, and files are.
pub const BOOK: &str = "---
type: workflow
needs: {connectors: [bank.pay], paths: 'clients/*', lease: 2h}
steps:
  clients: {find: 'clients/*.md', match: {}}
  fee: {effect: bank.pay, target: 'fee {{ task }}', amount: 12, args: {}, tags: [wage], retry: {attempts: 3, first: 1m}}
---
";
