//! What a registry's lifecycle policy would take away, computed beforehand: a registry that expires
//! the image that is live takes the rollback with it, and the next pod cannot start.
//!
//! The rules are those of Amazon ECR ("Lifecycle policies", userguide/LifecyclePolicies.html): each
//! rule looks at all images; an image is expired by the rule of the lowest priority number that
//! matches it and by no other; a rule that counts counts the newest first.

use std::collections::{BTreeMap, BTreeSet};

use globset::Glob;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::model::Digest;
use crate::model::resource::StoredImage;
use crate::policy::Refusal;

/// The images that a policy would expire at a time.
#[must_use]
pub fn expired<'a>(
    policy: &Value,
    images: &'a [StoredImage],
    now: Timestamp,
) -> BTreeSet<&'a Digest> {
    let mut rules: Vec<&Value> = policy["rules"].as_array().into_iter().flatten().collect();
    rules.sort_by_key(|rule| rule["rulePriority"].as_u64().unwrap_or(u64::MAX));
    let mut newest: Vec<&StoredImage> = images.iter().collect();
    newest.sort_by_key(|image| std::cmp::Reverse(image.pushed_at));
    let mut expired = BTreeSet::new();

    // An image that a rule matches is out of reach for every rule after it, expired or not.
    let mut taken: BTreeSet<&Digest> = BTreeSet::new();
    for rule in rules {
        let selection = &rule["selection"];
        let matching: Vec<&StoredImage> = newest
            .iter()
            .copied()
            .filter(|image| selects(selection, image))
            .collect();
        let number = selection["countNumber"].as_u64().unwrap_or(u64::MAX);
        let gone =
            matching.iter().enumerate().filter(|(place, image)| {
                match selection["countType"].as_str() {
                    Some("imageCountMoreThan") => *place as u64 >= number,
                    Some("sinceImagePushed") => {
                        let days = i64::try_from(number).unwrap_or(i64::MAX / 86_400);
                        now.duration_since(image.pushed_at)
                            >= SignedDuration::from_secs(days.saturating_mul(86_400))
                    }
                    _ => false,
                }
            });
        for (_, image) in gone {
            if !taken.contains(&image.digest) {
                expired.insert(&image.digest);
            }
        }
        taken.extend(matching.iter().map(|image| &image.digest));
    }

    expired
}

fn selects(selection: &Value, image: &StoredImage) -> bool {
    let list = |key: &str| -> Vec<String> {
        let items = selection[key].as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };

    match selection["tagStatus"].as_str() {
        Some("untagged") => image.tags.is_empty(),
        Some("tagged") => {
            let (patterns, prefixes) = (list("tagPatternList"), list("tagPrefixList"));
            let by_pattern = |pattern: &String| {
                let glob = Glob::new(pattern).map(|glob| glob.compile_matcher());
                glob.is_ok_and(|glob| image.tags.iter().any(|tag| glob.is_match(tag)))
            };
            // Every pattern has to be met, by one tag or by several.
            !image.tags.is_empty()
                && patterns.iter().all(by_pattern)
                && prefixes
                    .iter()
                    .all(|prefix| image.tags.iter().any(|tag| tag.starts_with(prefix)))
        }
        _ => true,
    }
}

/// Refuses a policy that would expire an image that is needed.
///
/// # Errors
/// When it would: with the image, and what needs it.
pub fn keeps_what_is_needed(
    repository: &str,
    policy: &Value,
    images: &[StoredImage],
    needed: &BTreeMap<Digest, String>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let expired = expired(policy, images, now);
    match expired
        .iter()
        .find_map(|digest| needed.get(*digest).map(|why| (digest, why)))
    {
        None => Ok(()),
        Some((digest, why)) => Err(Refusal {
            what: format!(
                "the lifecycle policy of repository {repository} would expire {}, which {why}",
                digest.short()
            ),
            help: "raise `registry.retention`, or take that release away first".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn image(number: u8, tags: &[&str], days_ago: i64) -> StoredImage {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        StoredImage {
            digest: Digest::of(&[number]),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            pushed_at: now - SignedDuration::from_secs(days_ago * 86_400),
            size: None,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a time")
    }

    fn rule(priority: u64, selection: &Value) -> Value {
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    #[test]
    fn the_rules_are_ecr_s() {
        let images = [
            image(1, &["a"], 0),
            image(2, &["a-1"], 1),
            image(3, &["b"], 2),
            image(4, &[], 10),
        ];
        let gone = |rules: &[Value]| -> Vec<usize> {
            let policy = json!({ "rules": rules });
            let expired = expired(&policy, &images, now());
            (0..images.len())
                .filter(|at| expired.contains(&images[*at].digest))
                .map(|at| at + 1)
                .collect()
        };
        let untagged = rule(
            1,
            &json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}),
        );
        assert_eq!(gone(std::slice::from_ref(&untagged)), [4]);
        let two = rule(
            2,
            &json!({"tagStatus": "tagged", "tagPatternList": ["*"], "countType": "imageCountMoreThan", "countNumber": 2}),
        );
        assert_eq!(gone(&[two.clone(), untagged.clone()]), [3, 4]);
        let any = rule(
            3,
            &json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}),
        );
        // The two rules before it have all images: the third reaches none.
        assert_eq!(gone(&[any, two, untagged]), [3, 4]);
        let prefix = rule(
            1,
            &json!({"tagStatus": "tagged", "tagPrefixList": ["a"], "countType": "imageCountMoreThan", "countNumber": 1}),
        );
        assert_eq!(gone(&[prefix]), [2]);
        let both = rule(
            1,
            &json!({"tagStatus": "tagged", "tagPatternList": ["a*", "b"], "countType": "imageCountMoreThan", "countNumber": 0}),
        );
        assert!(gone(&[both]).is_empty(), "no image has both");
    }

    proptest! {
        #[test]
        fn a_higher_number_never_expires_more(days in proptest::collection::vec(0_i64..40, 1..20), number in 1_u64..20) {
            let images: Vec<StoredImage> =
                days.iter().zip(0..).map(|(days, number)| image(number, &["t"], *days)).collect();
            let policy = |number: u64| json!({"rules": [rule(1, &json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": number}))]});
            let fewer = expired(&policy(number), &images, now());
            let more = expired(&policy(number + 1), &images, now());
            prop_assert!(more.is_subset(&fewer));
            prop_assert_eq!(fewer.len(), images.len().saturating_sub(usize::try_from(number).expect("small")));
        }
    }

    #[test]
    fn a_policy_that_would_take_the_live_image_is_refused() {
        let images = [image(1, &["a"], 0), image(2, &["b"], 1)];
        let needed =
            BTreeMap::from([(images[1].digest.clone(), "is live in production".to_owned())]);
        let policy = |number: u64| json!({"rules": [rule(1, &json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": number}))]});
        keeps_what_is_needed("shop/web", &policy(2), &images, &needed, now()).expect("kept");
        let refused = keeps_what_is_needed("shop/web", &policy(1), &images, &needed, now())
            .expect_err("refused");
        assert!(
            refused.what.contains("which is live in production"),
            "{refused:?}"
        );
    }
}
