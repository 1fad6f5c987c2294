//! Items that are not in the request: files and URLs.

use crate::world::{World, grey, score_of_grey, single};

#[tokio::test]
async fn files_below_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.png"), grey(50)).unwrap();
    let flag = format!("--data_dir={}", folder.path().display());
    let world = World::with(&[&flag], |_| ()).await;
    assert_eq!(
        world.predict(single("path:a.png")).await.scores(),
        [score_of_grey(50)]
    );
    let absolute = format!("path:{}", folder.path().join("a.png").display());
    assert_eq!(
        world.predict(single(&absolute)).await.scores(),
        [score_of_grey(50)]
    );
    for item in [
        "path:../../etc/passwd",
        "path:/etc/passwd",
        "path:none.png",
        "path:",
    ] {
        let response = world.predict(single(item)).await;
        assert_eq!(response.status, 400, "{item}: {}", response.text);
        assert!(
            response.error().starts_with("data.item: "),
            "{}",
            response.text
        );
    }
}

#[tokio::test]
async fn without_the_flag_no_file_is_read() {
    let world = World::new().await;
    let response = world.predict(single("path:/etc/passwd")).await;
    assert_eq!(response.status, 400);
    assert!(response.error().contains("--data_dir"), "{}", response.text);
}
